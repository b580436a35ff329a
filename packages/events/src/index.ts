export { type Consumer, type ConsumerOptions, openConsumer } from './consumer/consumer.ts';
export type { Fork } from './consumer/next-in-order.ts';
export { readWatermarks, type Stream } from './consumer/positions.sql.ts';
export type { ParkedEvent } from './consumer/waiting.sql.ts';
export { type DirectReceiver, registerDirectReceiver } from './direct-receiver.ts';
export { migrateConsumer } from './migrate.ts';
