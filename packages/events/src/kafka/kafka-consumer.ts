// Feeds the consumer contract from Kafka: the same `deliver` as the direct route. An offset is committed only when the
// effect of everything before it is committed, so a crash repeats records and loses none; repeats are dropped by
// (generation, version). Two things are done here that kafkajs leaves open: a delivery that fails is tried again after a
// pause (a handler that throws would be called without end), and a crash that kafkajs does not heal is told to the owner.
import { setTimeout as delay } from 'node:timers/promises';
import type { DeliveryReply } from '@ballast/contracts';
import type kafkajs from 'kafkajs';
import type { Consumer } from '../consumer/consumer.ts';
import { connectKafka, type KafkaConnection, type KafkaLogger } from './connection.ts';
import { messageOf } from './record.ts';
import { deliverTogether } from './together.ts';
import { type DeclaredTopic, ordersTopic } from './topics.ts';

export interface KafkaConsumerOptions {
  readonly connection: KafkaConnection;
  readonly logger: KafkaLogger;
  /** The consumer group; `ballast.<service>`. */
  readonly group: string;
  /** Default: the orders' topic. It must exist. */
  readonly topic?: DeclaredTopic;
  readonly deliver: Consumer['deliver'];
  /** Asks the journal's owner for what is missing. */
  readonly askForGaps: (gaps: DeliveryReply['gaps']) => Promise<void>;
  /** Asked before the first record and every second: false: it rests, and everything stays in the topic. Rejects: as it was. */
  readonly mayRead?: () => Promise<boolean>;
}

export interface KafkaConsumer {
  /** Resolves when it consumes no more: to the reason, or to undefined after `close`. The owner decides what then. */
  readonly ended: Promise<Error | undefined>;
  /** Records that are no messages of ours: logged with their place, and passed over. */
  strangers(): number;
  close(): Promise<void>;
}

/** What one partition delivers at once; the contract's limit of a delivery is 1,000. */
const CHUNK = 500;
const MOST_TOGETHER = 1_000;
/** So many partitions wait for the same delivery: one transaction for all, and one wait for the disk. */
const PARTITIONS_AT_ONCE = 12;
/** Bounds memory: a fetch and the one being worked on. */
const FETCH_BYTES = 4_194_304;
const FETCH_PARTITION_BYTES = 524_288;
/** A member that was killed is replaced after this. */
const SESSION_TIMEOUT_MS = 10_000;
const HEARTBEAT_MS = 1_000;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;
const JOIN_LIMIT_MS = 30_000;
const ASK_EVERY_MS = 1_000;

/** Resolves when the group is joined; rejects when it cannot be (not authorized, no broker). */
export async function openKafkaConsumer(options: KafkaConsumerOptions): Promise<KafkaConsumer> {
  const { connection, logger, group, topic = ordersTopic, askForGaps, mayRead } = options;
  const deliver = deliverTogether(options.deliver, MOST_TOGETHER);
  const consumer = connectKafka(connection, group, logger).consumer({
    groupId: group,
    sessionTimeout: SESSION_TIMEOUT_MS,
    rebalanceTimeout: SESSION_TIMEOUT_MS * 2,
    heartbeatInterval: HEARTBEAT_MS,
    maxBytes: FETCH_BYTES,
    maxBytesPerPartition: FETCH_PARTITION_BYTES,
    maxWaitTimeInMs: 250,
    allowAutoTopicCreation: false,
    retry: { retries: 10, initialRetryTime: 100, maxRetryTime: 2_000, restartOnFailure: () => Promise.resolve(true) },
  });
  const pauses = new Map<number, number>();
  const resumes = new Set<NodeJS.Timeout>();
  let strangers = 0;
  let resting = false;
  /** Wake the partitions that had something while it rests. */
  const rested: (() => void)[] = [];
  let closed = false;

  async function ask(may: () => Promise<boolean>): Promise<void> {
    const reads = await may().catch(() => !resting); // whoever is asked may be away
    if (reads === resting)
      logger.warn(
        { group, topic: topic.name },
        reads ? 'the topic is read again' : 'the topic is not to be read for now',
      );
    resting = !reads;
    if (reads) for (const wake of rested.splice(0)) wake();
  }

  async function keepAsking(may: () => Promise<boolean>): Promise<void> {
    while (!closed) {
      await delay(ASK_EVERY_MS, undefined, { ref: false });
      await ask(may);
    }
  }

  async function consumeBatch(payload: kafkajs.EachBatchPayload): Promise<void> {
    const { batch, resolveOffset, heartbeat, isRunning, isStale, pause } = payload;
    for (let from = 0; from < batch.messages.length && isRunning() && !isStale(); from += CHUNK) {
      if (resting) {
        rested.push(pause());
        return;
      }
      const chunk = batch.messages.slice(from, from + CHUNK);
      try {
        await take(chunk, batch.partition);
      } catch (error) {
        return waitBefore(batch.partition, pause(), error);
      }
      pauses.delete(batch.partition);
      const last = chunk.at(-1);
      if (last !== undefined) resolveOffset(last.offset);
      await heartbeat();
    }
  }

  async function take(records: readonly kafkajs.KafkaMessage[], partition: number): Promise<void> {
    const messages: unknown[] = [];
    for (const record of records) {
      const message = messageOf(record);
      // Each partition is a stream of its own: what a watermark of it says is true of that partition.
      if (message !== undefined)
        messages.push(message.kind === 'watermark' ? { ...message, stream: streamOf(topic, partition) } : message);
      else {
        strangers++;
        logger.error(
          { topic: topic.name, partition, offset: record.offset },
          'a Kafka record is no message of ours; passed over',
        );
      }
    }
    if (messages.length === 0) return;
    const { gaps } = await deliver(messages);
    // They are stored, and reported again with the next watermark: who fills them may be away, and the records go on.
    if (gaps.length > 0)
      await askForGaps(gaps).catch((error: unknown) =>
        logger.warn({ group, gaps: gaps.length, error: String(error) }, 'gaps could not be reported; again later'),
      );
  }

  /** The partition rests, and the same records come again; the others go on, and the group's session lives. */
  function waitBefore(partition: number, resume: () => void, error: unknown): void {
    const wait = pauses.get(partition) ?? FIRST_PAUSE_MS;
    pauses.set(partition, Math.min(wait * 2, LONGEST_PAUSE_MS));
    logger.warn(
      { topic: topic.name, partition, wait_ms: wait, error: String(error) },
      'a delivery failed; it comes again',
    );
    const timer = setTimeout(() => {
      resumes.delete(timer);
      resume();
    }, wait);
    resumes.add(timer);
  }

  const { promise: ended, resolve: end } = Promise.withResolvers<Error | undefined>();
  const { CRASH, GROUP_JOIN } = consumer.events;
  consumer.on(CRASH, ({ payload: { error, restart } }) => {
    logger.error({ group, error: error.message, restart }, 'consuming from Kafka stopped');
    if (!restart) end(error);
  });
  const joined = new Promise<void>((resolve) => consumer.on(GROUP_JOIN, () => resolve()));
  const close = async (): Promise<void> => {
    closed = true;
    for (const timer of resumes) clearTimeout(timer);
    await consumer.disconnect();
    end(undefined);
  };

  try {
    if (mayRead !== undefined) {
      await ask(mayRead);
      void keepAsking(mayRead);
    }
    await consumer.connect();
    await consumer.subscribe({ topic: topic.name, fromBeginning: true });
    // Resolves also when we are not authorized; whether it consumes is told by the events.
    await consumer.run({
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: PARTITIONS_AT_ONCE,
      eachBatch: consumeBatch,
    });
    await untilJoined(joined, ended, group);
  } catch (error) {
    await close();
    throw error;
  }
  return { ended, strangers: () => strangers, close };
}

function streamOf({ name, partitions }: DeclaredTopic, partition: number) {
  return { route: name, partition, partitions };
}

async function untilJoined(joined: Promise<void>, ended: Promise<Error | undefined>, group: string): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`Kafka: ${group} did not join in ${JOIN_LIMIT_MS} ms`)),
    JOIN_LIMIT_MS,
  );
  try {
    const failed = await Promise.race([joined, ended, late]);
    if (failed instanceof Error) throw failed;
  } finally {
    clearTimeout(timer);
  }
}
