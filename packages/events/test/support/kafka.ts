// A real broker with the orders' topic, events to send, and everything that a topic holds read back by another client instance.
import type { KafkaOptions } from '@ballast/infra-kafka';
import { startTestKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import kafkajs from 'kafkajs';
import {
  endOffsets,
  ensureTopics,
  type KafkaConnection,
  type KafkaLogger,
  type OutgoingEvent,
  ordersTopic,
} from '../../src/kafka/index.ts';

export const quiet: KafkaLogger = { info: () => {}, warn: () => {}, error: () => {} };

/** `started` is told where the nodes listen, before any client connects: a proxy in front needs it. */
export async function testKafka(
  options: Partial<Omit<KafkaOptions, 'dataDir'>> = {},
  started: (ports: readonly number[]) => void = () => {},
): Promise<TestKafka> {
  const kafka = await startTestKafka(options);
  started(kafka.ports);
  try {
    await ensureTopics(kafka.connection(), kafka.ports.length, quiet);
  } catch (error) {
    await kafka.remove(); // nobody else knows of it yet
    throw error;
  }
  return kafka;
}

export interface StoredRecord {
  readonly partition: number;
  readonly offset: number;
  readonly key: string | null;
  readonly value: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Every record of the orders' topic, each partition in the order of its offsets. */
export async function readAll(connection: KafkaConnection): Promise<StoredRecord[]> {
  const ends = await endOffsets(connection, ordersTopic, quiet);
  const { client } = clientOf(connection);
  const consumer = client.consumer({ groupId: `test-${process.pid}-${performance.now()}` });
  const records: StoredRecord[] = [];
  const open = new Set(ends.flatMap((end, partition) => (end > 0 ? [partition] : [])));
  try {
    if (open.size === 0) return records;
    await consumer.connect();
    await consumer.subscribe({ topic: ordersTopic.name, fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
        if (!restart) reject(error);
      });
      consumer
        .run({
          eachBatch: async ({ batch: { partition, messages } }) => {
            for (const { offset, key, value, headers } of messages)
              records.push({
                partition,
                offset: Number(offset),
                key: key?.toString() ?? null,
                value: value?.toString() ?? '',
                headers: Object.fromEntries(Object.entries(headers ?? {}).map(([name, text]) => [name, String(text)])),
              });
            if (Number(messages.at(-1)?.offset) >= (ends[partition] ?? 0) - 1) open.delete(partition);
            if (open.size === 0) resolve();
          },
        })
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
  return records;
}

/** A client of the test's own, not the port's. */
export function clientOf({ brokers, security }: KafkaConnection): { client: kafkajs.Kafka } {
  const client = new kafkajs.Kafka({
    brokers: [...brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { retries: 10, initialRetryTime: 100, maxRetryTime: 1_000 },
    ...(security === undefined
      ? {}
      : {
          ssl: { ca: [security.ca] },
          sasl: { mechanism: 'scram-sha-512', username: security.username, password: security.password },
        }),
  });
  return { client };
}

/** Order number `n`: the same id each time, spread over the partitions like a real one. */
export function orderId(n: number): string {
  const random = Math.imul(n + 1, 2_654_435_761) >>> 0;
  return `019aaaaa-0000-7000-8000-${n.toString(16).padStart(4, '0')}${random.toString(16).padStart(8, '0')}`;
}

export const merchantId = '019aaaaa-0000-7000-8000-00000000abcd';

export function event(order: number, version: number, generation = 1): OutgoingEvent {
  const order_id = orderId(order);
  const state = {
    order_id,
    merchant_id: merchantId,
    terminal_id: merchantId,
    livemode: false,
    version,
    status: 'approved',
    amount: 1250,
    currency: 'EUR',
    approved_amount: 1250,
    method: 'card',
    channel: 'bank_a',
    batch_number: '1',
    trace_number: '1',
    merchant_reference: null,
    card_bin: '424242',
    card_last_four: '4242',
    user_id: null,
    device: null,
    discounts: null,
    decline_code: null,
    reason: null,
    answer: null,
    business_date: '2026-11-24',
    accepted_at: '2026-11-24T20:00:00.000Z',
    approve_until: '2026-11-24T20:01:15.000Z',
    voidable_until: '2026-11-24T23:00:00.000Z',
    void_requested: false,
    window_closed: false,
    attempt: null,
  };
  return {
    kind: 'event',
    id: `${order_id}:${version}:${generation}`,
    source: 'collection',
    generation,
    type: 'approved',
    order_id,
    merchant_id: merchantId,
    version,
    livemode: false,
    occurred_at: '2026-11-24T20:00:00.000Z',
    traceparent: version === 1 ? '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' : null,
    data: JSON.stringify(state),
  };
}

/** `count` events of `orders` orders, versions ascending, interleaved as a log would be. */
export function events(orders: number, count: number): OutgoingEvent[] {
  return Array.from({ length: count }, (_, index) => event(index % orders, 1 + Math.floor(index / orders)));
}

/** Each order's versions in the order of the topic. */
export function versionsByOrder(records: readonly StoredRecord[]): Map<string, number[]> {
  const orders = new Map<string, number[]>();
  for (const { key, headers } of records) {
    if (key === null) continue;
    const versions = orders.get(key);
    if (versions === undefined) orders.set(key, [Number(headers['ce_sequence'])]);
    else versions.push(Number(headers['ce_sequence']));
  }
  return orders;
}

/** What a consumer that keeps the last version makes of it: gaps found, repeats dropped. */
export function fold(versions: readonly number[]): { last: number; repeats: number; gaps: number } {
  let last = 0;
  let repeats = 0;
  let gaps = 0;
  for (const version of versions) {
    if (version <= last) repeats++;
    else if (version === last + 1) last = version;
    else gaps++;
  }
  return { last, repeats, gaps };
}
