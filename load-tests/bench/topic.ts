// The orders' topic, read by kafkajs itself: nothing of ours but the topic's name and number of partitions.
import { randomUUID } from 'node:crypto';
import { ordersTopic } from '@ballast/events/kafka';
import kafkajs from 'kafkajs';
import { withClient } from './observe.ts';
import { type Journalled, openTopicFold, type Read, type TopicRecord } from './topic-fold.ts';

const PAUSE_MS = 20;
const READ_LIMIT_MS = 90_000;
const FETCH_BYTES = 8_388_608;

/** Calls back for every record from `from` on. Resolves when it has joined; `close` ends it. */
export async function followTopic(
  brokers: readonly string[],
  from: 'beginning' | 'end',
  take: (record: TopicRecord) => void,
): Promise<{ positions: readonly number[]; close(): Promise<void> }> {
  const consumer = clientOf(brokers).consumer({
    groupId: `ballast.bench.${randomUUID()}`,
    maxWaitTimeInMs: 100,
    maxBytes: FETCH_BYTES,
    maxBytesPerPartition: FETCH_BYTES / 4,
  });
  const positions = new Array<number>(ordersTopic.partitions).fill(0);
  const joined = new Promise<void>((resolve) => consumer.on(consumer.events.GROUP_JOIN, () => resolve()));
  await consumer.connect();
  await consumer.subscribe({ topic: ordersTopic.name, fromBeginning: from === 'beginning' });
  await consumer.run({
    autoCommit: false, // a commit per batch would be most of what is measured
    eachBatch: async ({ batch }) => {
      for (const message of batch.messages) take(recordOf(batch.partition, message));
      positions[batch.partition] = Number(batch.lastOffset()) + 1;
    },
  });
  await joined;
  return { positions, close: () => consumer.disconnect() };
}

/** How many records each partition has taken, asked as often as one likes. */
export async function openTopicEnds(brokers: readonly string[]) {
  const admin = clientOf(brokers).admin();
  await admin.connect();
  return {
    ends: async (): Promise<number[]> => {
      const ends = new Array<number>(ordersTopic.partitions).fill(0);
      for (const { partition, high } of await admin.fetchTopicOffsets(ordersTopic.name)) ends[partition] = Number(high);
      return ends;
    },
    close: () => admin.disconnect(),
  };
}

/** Gone at once; whoever writes to it makes it anew. */
export async function deleteTopic(brokers: readonly string[], topic: string): Promise<void> {
  const admin = clientOf(brokers).admin();
  await admin.connect();
  try {
    await admin.deleteTopics({ topics: [topic] });
  } finally {
    await admin.disconnect();
  }
}

/** The whole topic up to its present end, beside the whole journal. */
export async function readTopic(brokers: readonly string[], ordersUrl: string): Promise<Read> {
  const fold = openTopicFold();
  const asking = await openTopicEnds(brokers);
  const ends = await asking.ends();
  await asking.close();
  const reading = await followTopic(brokers, 'beginning', fold.take);
  const until = performance.now() + READ_LIMIT_MS;
  while (ends.some((end, partition) => (reading.positions[partition] ?? 0) < end)) {
    if (performance.now() > until) throw new Error(`the topic was not read within ${READ_LIMIT_MS / 1_000} s`);
    await pause();
  }
  await reading.close();
  const { rows } = await withClient(ordersUrl, (client) =>
    client.query<[...Journalled]>({
      text: 'select order_id::text, max(version) from order_event group by order_id',
      rowMode: 'array',
    }),
  );
  return fold.compare(rows);
}

function recordOf(partition: number, { key, headers, timestamp }: kafkajs.KafkaMessage): TopicRecord {
  const time = headers?.['ce_time']?.toString() ?? '';
  // Date knows ms; the journal's clock has µs, whose last three digits are added.
  const microseconds = /\.\d{3}(\d{1,3})/.exec(time)?.[1]?.padEnd(3, '0') ?? '0';
  return {
    partition,
    key: key === null ? null : key.toString(),
    version: Number(headers?.['ce_sequence']?.toString()),
    occurredAt: Date.parse(time) + Number(microseconds) / 1_000,
    publishedAt: Number(timestamp),
  };
}

function clientOf(brokers: readonly string[]): kafkajs.Kafka {
  return new kafkajs.Kafka({
    clientId: 'ballast-bench',
    brokers: [...brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { retries: 10, initialRetryTime: 100, maxRetryTime: 1_000 },
  });
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}
