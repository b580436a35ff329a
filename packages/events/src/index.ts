export { type Consumer, type ConsumerOptions, openConsumer } from './consumer/consumer.ts';
export type { Fork } from './consumer/next-in-order.ts';
export type { ParkedEvent } from './consumer/waiting.sql.ts';
export { type ProvenOfNode, readWatermarks } from './consumer/watermarks.sql.ts';
export { type DirectReceiver, registerDirectReceiver } from './direct-receiver.ts';
export { migrateConsumer } from './migrate.ts';
