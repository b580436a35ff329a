// Which topic it is, and how far it goes: what was published is remembered by this, across restarts of whoever published.
// A topic that was deleted and made again has another id; one that lost records ends before what was acknowledged.
import { endOffsets } from './apply-topics.ts';
import { openLink } from './broker-link.ts';
import type { KafkaConnection, KafkaLogger } from './connection.ts';
import { readTopicId, TOPIC_ID, topicIdRequest } from './protocol.ts';
import type { DeclaredTopic } from './topics.ts';

export interface TopicPlace {
  readonly topic_id: string;
  /** The offset after the last record known of each partition. */
  readonly next_offsets: readonly number[];
}

/** As the brokers have it now. Rejects when none answers, and when there is no such topic. */
export function readTopicPlace(
  connection: KafkaConnection,
  topic: DeclaredTopic,
  logger: KafkaLogger,
): Promise<TopicPlace> {
  return readPlace(
    () => readId(connection, topic),
    () => endOffsets(connection, topic, logger),
  );
}

/** A topic is not made again more often than this while it is read. */
const TRIES = 5;

/** Of one topic: the offsets of one and the id of another, made again between the two, would look like nothing ever lost. */
export async function readPlace(
  topicId: () => Promise<string>,
  nextOffsets: () => Promise<readonly number[]>,
): Promise<TopicPlace> {
  let before = await topicId();
  for (let tries = 0; tries < TRIES; tries++) {
    const next_offsets = await nextOffsets();
    const topic_id = await topicId();
    if (topic_id === before) return { topic_id, next_offsets };
    before = topic_id;
  }
  throw new Error('the topic is made again and again');
}

async function readId({ brokers, security }: KafkaConnection, topic: DeclaredTopic): Promise<string> {
  const failures: unknown[] = [];
  for (const address of brokers) {
    try {
      const link = await openLink(address, security);
      try {
        return readTopicId(await link.request(TOPIC_ID, topicIdRequest(topic.name)), topic.name);
      } finally {
        link.close();
      }
    } catch (error) {
      failures.push(error);
    }
  }
  throw failures.at(-1);
}

/** Null: everything that was acknowledged is there, or has grown old there. */
export function whatIsLost(acknowledged: TopicPlace, now: TopicPlace): string | null {
  if (now.topic_id !== acknowledged.topic_id) return 'it was deleted and made again';
  for (const [partition, next] of acknowledged.next_offsets.entries()) {
    const end = now.next_offsets[partition] ?? 0;
    if (end < next) return `partition ${partition} ends at ${end}, and was acknowledged up to ${next}`;
  }
  return null;
}
