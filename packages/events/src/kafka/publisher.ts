// Publishes to one topic, in the order given, each message acknowledged by all in-sync replicas.
//
// One request is in flight per lane (the partitions that one broker leads), hence one batch per partition; the next batch
// is whatever arrived meanwhile. A send that fails is *unknown*: it may have been appended. Each partition's batch is then
// sent again, alone and unchanged, on the same producer, whose sequence numbers let the broker drop what it has already.
// (Alone: kafkajs skips a broker that has answered, so a leader that moves there in the middle of a joint send would lose
// its records silently; facts in docs/decisions/0010-kafka-client.md.)
//
// When that does not help within `giveUpAfterMs`, or the broker refuses the sequence, the publisher fails for good: what
// it held is unknown, and its owner opens another and sends again. Repeats in the topic are allowed, losses are not.
import type kafkajs from 'kafkajs';
import {
  connectKafka,
  idempotentProducer,
  type KafkaConnection,
  type KafkaLogger,
  REQUEST_TIMEOUT_MS,
} from './connection.ts';
import { eventRecord, type OutgoingMessage, type OutgoingRecord, watermarkRecord } from './record.ts';
import { type DeclaredTopic, ordersTopic, partitionOf } from './topics.ts';

export interface PublisherOptions {
  readonly connection: KafkaConnection;
  readonly logger: KafkaLogger;
  /** Default: the orders' topic. It must exist (`ensureTopics`). */
  readonly topic?: DeclaredTopic;
  /** How long a batch is sent again before the publisher fails. Longer than a leader's election, about 3 s. */
  readonly giveUpAfterMs?: number;
}

export interface Publisher {
  /**
   * Resolves when every message is acknowledged. Calls may overlap; order is that of the calls. Watermarks go to every
   * partition. Rejects with PublishFailed: what became of the messages is unknown.
   */
  publish(messages: readonly OutgoingMessage[]): Promise<void>;
  /** The next offset of each partition as far as it is acknowledged; undefined: nothing yet. */
  nextOffsets(): readonly (number | undefined)[];
  /** Whatever is not acknowledged is rejected as unknown. Waits a bounded time for the broker. */
  close(): Promise<void>;
}

export type FailureReason =
  | 'gave_up' // no acknowledgement in time
  | 'refused' // not authorized, too large, or our sequence is not accepted any more
  | 'topic_wiped' // offsets went backwards: the topic is not the one we wrote to
  | 'closed';

export class PublishFailed extends Error {
  readonly reason: FailureReason;
  constructor(reason: FailureReason, message: string, cause?: unknown) {
    super(`Kafka: ${message}`, { cause });
    this.reason = reason;
  }
}

/** The broker takes 1 MB per batch; the rest is for headers and framing. */
const MAX_BATCH_BYTES = 700_000;
const RECORD_OVERHEAD_BYTES = 600;
const MAX_BATCH_RECORDS = 500;
/** One request of a lane: encoding it holds the event loop for some 15 ms. */
const MAX_REQUEST_RECORDS = 500;
/** What may wait here, unacknowledged: about 30 MB. The owner publishes in windows below it. */
export const MAX_PENDING_RECORDS = 20_000;
const RESEND_FIRST_MS = 25;
const RESEND_MOST_MS = 400;
const CLOSE_LIMIT_MS = 1_000;

/** Answers after which sending the same batch again cannot help. */
const REFUSALS = new Set([
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'INVALID_PRODUCER_EPOCH',
  'TOPIC_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
]);

interface Waiting {
  readonly record: OutgoingRecord;
  readonly call: Call;
}

/** One call of `publish`. */
interface Call {
  unacknowledged: number;
  resolve(): void;
  reject(error: PublishFailed): void;
}

interface Batch {
  readonly partition: number;
  readonly items: readonly Waiting[];
  readonly messages: kafkajs.Message[];
}

export async function openPublisher(options: PublisherOptions): Promise<Publisher> {
  const { connection, logger, topic = ordersTopic, giveUpAfterMs = 10_000 } = options;
  const kafka = connectKafka(connection, 'ballast-publisher', logger);
  const producer = idempotentProducer(kafka);
  await producer.connect();
  let leaders = await readLeaders(kafka, topic);

  const waiting = Array.from({ length: topic.partitions }, (): Waiting[] => []);
  const nextOffset = new Array<number | undefined>(topic.partitions).fill(undefined);
  const busyLanes = new Set<number>();
  /** Partitions with a batch in flight: after a change of leaders the lane that now has one must wait for the other. */
  const inFlight = new Set<number>();
  const calls = new Set<Call>();
  let pending = 0;
  let failure: PublishFailed | undefined;

  function publish(messages: readonly OutgoingMessage[]): Promise<void> {
    if (failure !== undefined) return Promise.reject(failure);
    if (pending + messages.length > MAX_PENDING_RECORDS)
      return Promise.reject(new Error(`BUG: more than ${MAX_PENDING_RECORDS} records wait for Kafka`));
    return new Promise((resolve, reject) => {
      const call: Call = { unacknowledged: 0, resolve, reject };
      calls.add(call);
      for (const message of messages) {
        if (message.kind === 'event') put(partitionOf(message.order_id, topic.partitions), eventRecord(message), call);
        else for (const partition of waiting.keys()) put(partition, watermarkRecord(message), call);
      }
      if (call.unacknowledged === 0) settle(call);
      else runAll();
    });
  }

  function put(partition: number, record: OutgoingRecord, call: Call): void {
    waiting[partition]?.push({ record, call });
    call.unacknowledged++;
    pending++;
  }

  function settle(call: Call): void {
    calls.delete(call);
    call.resolve();
  }

  function runAll(): void {
    for (const leader of new Set(leaders)) run(leader);
  }

  /** Starts the lane unless it runs, or nothing waits for it. */
  function run(leader: number): void {
    if (busyLanes.has(leader) || failure !== undefined) return;
    const batches = takeBatches(leader);
    if (batches.length === 0) return;
    busyLanes.add(leader);
    for (const { partition } of batches) inFlight.add(partition);
    // Whatever kafkajs is waiting for meanwhile: nothing is held longer than this.
    const limit = setTimeout(
      () => fail(new PublishFailed('gave_up', `no answer in ${giveUpAfterMs} ms`)),
      giveUpAfterMs,
    );
    void sendAll(batches)
      .then(
        () => {
          busyLanes.delete(leader);
          for (const { partition } of batches) inFlight.delete(partition);
          runAll();
        },
        (error: unknown) =>
          fail(error instanceof PublishFailed ? error : new PublishFailed('refused', textOf(error), error)),
      )
      .finally(() => clearTimeout(limit));
  }

  function takeBatches(leader: number): Batch[] {
    const batches: Batch[] = [];
    let room = MAX_REQUEST_RECORDS;
    for (const [partition, queue] of waiting.entries()) {
      if (leaders[partition] !== leader || inFlight.has(partition) || queue.length === 0 || room === 0) continue;
      const items = queue.splice(0, fitting(queue, Math.min(room, MAX_BATCH_RECORDS)));
      room -= items.length;
      batches.push({ partition, items, messages: items.map(({ record }) => ({ ...record, partition })) });
    }
    return batches;
  }

  /** First all of the lane in one request; what that left open, each partition by itself, where its leader is then. */
  async function sendAll(batches: readonly Batch[]): Promise<void> {
    let open = batches;
    try {
      const answers = await send(batches.flatMap(({ messages }) => messages));
      open = batches.filter((batch) => !acknowledge(batch, answers));
    } catch (error) {
      if (error instanceof PublishFailed) throw error;
      logger.warn(
        { error: textOf(error), partitions: batches.length },
        'a send to Kafka failed; sending the same again',
      );
    }
    if (open.length === 0) return;
    await Promise.all(open.map(sendAgain));
    // A stale view costs one more failed send, so a failure to read it is no failure.
    leaders = await readLeaders(kafka, topic).catch(() => leaders);
  }

  /** Until it is acknowledged or the publisher has failed, by refusal or by `giveUpAfterMs`. */
  async function sendAgain(batch: Batch): Promise<void> {
    for (let wait = RESEND_FIRST_MS; failure === undefined; wait = Math.min(wait * 2, RESEND_MOST_MS)) {
      try {
        if (acknowledge(batch, await send(batch.messages))) return;
      } catch (error) {
        if (error instanceof PublishFailed) throw error;
        logger.warn({ error: textOf(error), partition: batch.partition }, 'sending to Kafka again failed');
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
    throw failure;
  }

  async function send(messages: kafkajs.Message[]): Promise<kafkajs.RecordMetadata[]> {
    try {
      return await producer.send({ topic: topic.name, acks: -1, timeout: REQUEST_TIMEOUT_MS, messages });
    } catch (error) {
      const type = refusalIn(error);
      if (type !== undefined) throw new PublishFailed('refused', `the broker answered ${type}`, error);
      throw error;
    }
  }

  /** False: the answer says nothing of this partition. */
  function acknowledge({ partition, items }: Batch, answers: readonly kafkajs.RecordMetadata[]): boolean {
    if (failure !== undefined) throw failure; // too late: its owner was told that the outcome is unknown
    const base = Number(answers.find((answer) => answer.partition === partition)?.baseOffset ?? Number.NaN);
    if (!Number.isSafeInteger(base) || base < 0) return false;
    const before = nextOffset[partition];
    if (before !== undefined && base < before)
      throw new PublishFailed('topic_wiped', `partition ${partition} went back from offset ${before} to ${base}`);
    nextOffset[partition] = base + items.length;
    pending -= items.length;
    for (const { call } of items) if (--call.unacknowledged === 0) settle(call);
    return true;
  }

  function fail(error: PublishFailed): void {
    if (failure !== undefined) return;
    failure = error;
    for (const call of calls) call.reject(error);
    calls.clear();
    for (const queue of waiting) queue.length = 0;
    pending = 0;
    // Not waited for: the broker may never answer, and the owner goes on without it.
    producer.disconnect().catch((cause: unknown) => logger.warn({ error: textOf(cause) }, 'leaving Kafka failed'));
  }

  return {
    publish,
    nextOffsets: () => [...nextOffset],
    close: async () => {
      if (failure !== undefined) return;
      const left = producer
        .disconnect()
        .catch((cause: unknown) => logger.warn({ error: textOf(cause) }, 'leaving Kafka failed'));
      fail(new PublishFailed('closed', 'the publisher was closed'));
      await Promise.race([left, new Promise((resolve) => setTimeout(resolve, CLOSE_LIMIT_MS).unref())]);
    },
  };
}

/** How many of the first records go into one batch: at least one, and no more than a broker takes. */
function fitting(queue: readonly Waiting[], most: number): number {
  let bytes = 0;
  for (let count = 0; count < Math.min(queue.length, most); count++) {
    bytes += RECORD_OVERHEAD_BYTES + (queue[count]?.record.value.length ?? 0);
    if (bytes > MAX_BATCH_BYTES) return Math.max(1, count);
  }
  return Math.min(queue.length, most);
}

/** The leader of each partition. */
async function readLeaders(kafka: kafkajs.Kafka, topic: DeclaredTopic): Promise<number[]> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const found = await admin.fetchTopicMetadata({ topics: [topic.name] });
    const partitions = found.topics[0]?.partitions ?? [];
    if (partitions.length !== topic.partitions)
      throw new Error(`Topic ${topic.name} has ${partitions.length} partitions, declared are ${topic.partitions}.`);
    const leaders = new Array<number>(topic.partitions).fill(-1);
    for (const { partitionId, leader } of partitions) leaders[partitionId] = leader;
    return leaders;
  } finally {
    await admin.disconnect();
  }
}

/** The protocol's name of a final refusal, wherever kafkajs has wrapped it. */
function refusalIn(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const type = (at as Error & { type?: unknown }).type;
    if (typeof type === 'string' && REFUSALS.has(type)) return type;
  }
  return undefined;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
