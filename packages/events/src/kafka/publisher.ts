// Publishes to one topic, in the order given, each message acknowledged by all in-sync replicas.
//
// A partition has one batch at a time: encoded once, sent, and sent again as the very same bytes until it is acknowledged,
// to whoever leads the partition then. Its sequence numbers let the broker drop what it has already, so a send whose answer
// was lost makes no repeat. The next batch is whatever arrived meanwhile. Partitions with the same leader share requests:
// what is little goes in one, much in two lanes, one encoded while the broker works on the other.
//
// When that does not help within `giveUpAfterMs`, or the broker refuses, the publisher fails for good: what it held is
// *unknown*, and its owner opens another and sends again. Repeats in the topic are allowed, losses are not.
//
// The protocol is spoken here (protocol.ts, record-batch.ts) and not by kafkajs: why, in docs/decisions/0010-kafka-client.md.
import { type Cluster, openCluster } from './cluster.ts';
import type { KafkaConnection, KafkaLogger } from './connection.ts';
import { errorNames, type PartitionAnswer, PRODUCE, passingErrors, produceRequest, readProduce } from './protocol.ts';
import { eventRecord, type OutgoingMessage, type OutgoingRecord, watermarkRecord } from './record.ts';
import { encodeBatch } from './record-batch.ts';
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
  /** Whatever is not acknowledged is rejected as unknown. */
  close(): void;
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

/** The broker takes 1 MB a batch; the estimate of what stands around a value is on the safe side. */
const MAX_BATCH_BYTES = 700_000;
const RECORD_OVERHEAD_BYTES = 600;
const MAX_BATCH_RECORDS = 500;
/** One request. Half of what an owner publishes at once: much then fills both lanes, and the broker has a request all the time. */
const MAX_REQUEST_RECORDS = 500;
/** What may wait here, unacknowledged: about 30 MB. The owner publishes in windows below it. */
export const MAX_PENDING_RECORDS = 20_000;
/** How long a broker may wait for its replicas; shorter than we wait for its answer. */
const REPLICAS_TIMEOUT_MS = 3_000;
const RESEND_FIRST_MS = 25;
const RESEND_MOST_MS = 400;
const LANES_PER_LEADER = 2;
const SEQUENCES = 2 ** 31;
const DUPLICATE_SEQUENCE_NUMBER = 46;

/** One call of `publish`. */
interface Call {
  unacknowledged: number;
  resolve(): void;
  reject(error: PublishFailed): void;
}

interface Waiting {
  readonly record: OutgoingRecord;
  readonly call: Call;
}

interface Batch {
  readonly partition: number;
  readonly items: readonly Waiting[];
  readonly bytes: Buffer;
  readonly limit: NodeJS.Timeout;
  tries: number;
}

interface Partition {
  readonly waiting: Waiting[];
  /** Sent, or to be sent again; nothing of the partition is sent before it is acknowledged. */
  batch: Batch | undefined;
  inFlight: boolean;
  sequence: number;
  nextOffset: number | undefined;
  /** Where its batches are written, one after the other: the last one was acknowledged, so nobody sends it any more. */
  room: Buffer;
}

export async function openPublisher(options: PublisherOptions): Promise<Publisher> {
  const { connection, logger, topic = ordersTopic, giveUpAfterMs = 10_000 } = options;
  const cluster: Cluster = await openCluster(connection, topic);
  const partitions = Array.from(
    { length: topic.partitions },
    (): Partition => ({
      waiting: [],
      batch: undefined,
      inFlight: false,
      sequence: 0,
      nextOffset: undefined,
      room: Buffer.alloc(0),
    }),
  );
  const busyLanes = new Set<string>();
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
        else for (const partition of partitions.keys()) put(partition, watermarkRecord(message), call);
      }
      if (call.unacknowledged === 0) settle(call);
      else run();
    });
  }

  function at(number: number): Partition {
    const partition = partitions[number];
    if (partition === undefined) throw new Error(`BUG: no partition ${number}`);
    return partition;
  }

  function put(partition: number, record: OutgoingRecord, call: Call): void {
    at(partition).waiting.push({ record, call });
    call.unacknowledged++;
    pending++;
  }

  function settle(call: Call): void {
    calls.delete(call);
    call.resolve();
  }

  /** Starts every lane that is idle and has something to send. */
  function run(): void {
    for (const leader of new Set(cluster.leaders()))
      for (let lane = 0; lane < LANES_PER_LEADER; lane++) runLane(leader, lane);
  }

  function runLane(leader: number, lane: number): void {
    const name = `${leader}/${lane}`;
    if (busyLanes.has(name) || failure !== undefined) return;
    const batches = takeBatches(leader);
    if (batches.length === 0) return;
    busyLanes.add(name);
    send(leader, batches).then(
      () => {
        busyLanes.delete(name);
        run();
      },
      (error: unknown) =>
        fail(error instanceof PublishFailed ? error : new PublishFailed('refused', String(error), error)),
    );
  }

  function takeBatches(leader: number): Batch[] {
    const batches: Batch[] = [];
    let room = MAX_REQUEST_RECORDS;
    for (const [number, partition] of partitions.entries()) {
      if (cluster.leaders()[number] !== leader || partition.inFlight || room <= 0) continue;
      partition.batch ??= nextBatch(number, partition);
      if (partition.batch === undefined) continue;
      room -= partition.batch.items.length;
      partition.inFlight = true;
      batches.push(partition.batch);
    }
    return batches;
  }

  function nextBatch(number: number, partition: Partition): Batch | undefined {
    if (partition.waiting.length === 0) return undefined;
    const items = partition.waiting.splice(0, fitting(partition.waiting));
    const records = items.map(({ record }) => record);
    const bytes = encodeBatch(records, cluster.identity, partition.sequence, partition.room);
    if (bytes.buffer !== partition.room.buffer) partition.room = Buffer.from(bytes.buffer);
    partition.sequence = (partition.sequence + items.length) % SEQUENCES;
    const giveUp = () => fail(new PublishFailed('gave_up', `no acknowledgement in ${giveUpAfterMs} ms`));
    return { partition: number, items, bytes, limit: setTimeout(giveUp, giveUpAfterMs), tries: 0 };
  }

  /** Sends once. What is not acknowledged stays its partition's batch; then the leaders are read again, after a pause. */
  async function send(leader: number, batches: readonly Batch[]): Promise<void> {
    let answers: readonly PartitionAnswer[] = [];
    let reason = 'no answer';
    try {
      const link = await cluster.link(leader);
      answers = readProduce(await link.request(PRODUCE, ...produceRequest(topic.name, REPLICAS_TIMEOUT_MS, batches)));
    } catch (error) {
      reason = String(error); // unknown: it may have been appended
    }
    if (failure !== undefined) throw failure; // too late: its owner was told that the outcome is unknown
    let tries = 0;
    for (const batch of batches) {
      const answer = answers.find(({ partition }) => partition === batch.partition);
      if (answer !== undefined && accept(batch, answer)) continue;
      if (answer !== undefined) reason = errorNames[answer.error] ?? String(answer.error);
      tries = Math.max(tries, ++batch.tries);
    }
    if (tries > 0) {
      logger.warn(
        { topic: topic.name, leader, tries, reason },
        'a send to Kafka is not acknowledged; the same is sent again',
      );
      await new Promise((resolve) => setTimeout(resolve, Math.min(RESEND_FIRST_MS * 2 ** (tries - 1), RESEND_MOST_MS)));
      await cluster
        .refresh()
        .catch((error: unknown) => logger.warn({ error: String(error) }, 'the leaders could not be read'));
    }
    for (const { partition } of batches) at(partition).inFlight = false;
  }

  /** False: it is to be sent again. Throws when that cannot help. */
  function accept({ partition: number, items, limit }: Batch, { error, baseOffset }: PartitionAnswer): boolean {
    const partition = at(number);
    if (passingErrors.has(error)) return false;
    if (error !== 0 && error !== DUPLICATE_SEQUENCE_NUMBER)
      throw new PublishFailed('refused', `partition ${number}: ${errorNames[error] ?? error}`);
    if (baseOffset >= 0) {
      if (partition.nextOffset !== undefined && baseOffset < partition.nextOffset)
        throw new PublishFailed(
          'topic_wiped',
          `partition ${number} went back from ${partition.nextOffset} to ${baseOffset}`,
        );
      partition.nextOffset = baseOffset + items.length;
    }
    clearTimeout(limit);
    partition.batch = undefined;
    pending -= items.length;
    for (const { call } of items) if (--call.unacknowledged === 0) settle(call);
    return true;
  }

  function fail(error: PublishFailed): void {
    if (failure !== undefined) return;
    failure = error;
    for (const partition of partitions) {
      clearTimeout(partition.batch?.limit);
      partition.batch = undefined;
      partition.waiting.length = 0;
    }
    for (const call of calls) call.reject(error);
    calls.clear();
    cluster.close();
  }

  return {
    publish,
    nextOffsets: () => partitions.map(({ nextOffset }) => nextOffset),
    close: () => fail(new PublishFailed('closed', 'the publisher was closed')),
  };
}

/** How many of the first records go into one batch: at least one, and no more than a broker takes. */
function fitting(waiting: readonly Waiting[]): number {
  const most = Math.min(waiting.length, MAX_BATCH_RECORDS);
  let bytes = 0;
  for (let count = 0; count < most; count++) {
    bytes += RECORD_OVERHEAD_BYTES + (waiting[count]?.record.value.length ?? 0);
    if (bytes > MAX_BATCH_BYTES) return Math.max(1, count);
  }
  return most;
}
