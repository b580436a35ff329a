// Kafka as one more receiver of a feed. A publisher that fails is thrown away, and another is opened for the next try:
// what it held is unknown, and the feed sends it again (repeats in the topic are allowed, losses are not).
//
// Each time, also after a restart of this process, the topic is held against what it acknowledged before: one that lost
// any of that is filled again from the journal's first event on.
import { refuseInTransaction } from '@ballast/database';
import {
  ensureTopics,
  type KafkaConnection,
  type OutgoingMessage,
  openPublisher,
  ordersTopic,
  type Publisher,
  PublishFailed,
  proveClient,
  readTopicPlace,
  type TopicPlace,
  whatIsLost,
} from '@ballast/events/kafka';
import type { Logger } from '@ballast/telemetry';
import { DeliveryFailed, type Sender } from './send-delivery.ts';

export type KafkaSettings = KafkaConnection & { readonly replicas: number };

export interface KafkaSenderOptions {
  readonly connection: KafkaSettings;
  readonly logger: Logger;
  /** As stored; null: nothing was published yet. */
  readonly acknowledged: TopicPlace | null;
  /** The topic lacks what was written to it: everything in the journal belongs into it again. */
  onLost(why: string): void;
  /** How the topics differ from what is declared, each time they are looked at; null: not at all. */
  onTopics(difference: string | null): void;
}

/** Sooner than the publisher's own default: by then the direct route serves, and a new publisher knows the new leaders. */
const GIVE_UP_AFTER_MS = 5_000;

export function openKafkaSender(options: KafkaSenderOptions): Sender {
  const { connection, logger, acknowledged, onLost, onTopics } = options;
  let proven = false;
  let publisher: Publisher | undefined;
  let place = acknowledged;
  let closed = false;
  /** Of whoever waits for a publisher to be opened. */
  let leave: (why: Error) => void = () => undefined;

  async function open(): Promise<Publisher> {
    const difference = await ensureTopics(connection, connection.replicas, logger);
    if (!closed) onTopics(difference); // later it is the next lead's to say
    if (!proven) await proveClient(connection, logger);
    proven = true;
    const now = await readTopicPlace(connection, ordersTopic, logger);
    const lost = place === null ? null : whatIsLost(place, now);
    if (lost !== null) throw new TopicLost(lost, now);
    place = now;
    return openPublisher({ connection, logger, giveUpAfterMs: GIVE_UP_AFTER_MS });
  }

  /**
   * Opening takes as long as a broker that hangs likes, and the end of a lead waits for nobody: with the slot it would hold up
   * every subscriber. A publisher that comes later is closed: nobody else would.
   */
  function openUnlessClosed(): Promise<Publisher> {
    const waited = Promise.withResolvers<Publisher>();
    leave = waited.reject;
    if (closed) leave(new Error('closed'));
    else open().then((opened) => (closed ? opened.close() : waited.resolve(opened)), waited.reject);
    return waited.promise;
  }

  async function publish(messages: readonly OutgoingMessage[]): Promise<void> {
    publisher ??= await openUnlessClosed();
    // A watermark follows only when everything before it is acknowledged, in every partition.
    for (const part of splitAtWatermarks(messages)) await publisher.publish(part);
  }

  /** As far as it is acknowledged; nothing is known of a partition before the first acknowledgement of this publisher. */
  function published(): TopicPlace | null {
    if (place === null || publisher === undefined) return place;
    const next = publisher.nextOffsets();
    const next_offsets = place.next_offsets.map((known, partition) => Math.max(known, next[partition] ?? 0));
    place = { ...place, next_offsets };
    return place;
  }

  return {
    send: async (messages) => {
      refuseInTransaction('Kafka');
      try {
        await publish(messages);
        return { applied: messages.length, repeated: 0, held: 0, parked: 0, gaps: [], progress: [] };
      } catch (error) {
        published();
        const failed = publisher;
        publisher = undefined;
        failed?.close();
        if (error instanceof TopicLost) {
          // The two together, and only where somebody is told: a lead that ended meanwhile leaves the loss to the next one.
          place = error.now;
          onLost(error.message);
        }
        if (error instanceof PublishFailed && error.reason === 'topic_wiped') {
          place = null; // what is there now is where it begins again
          onLost('its offsets went back');
        }
        throw new DeliveryFailed(error instanceof Error ? error.message : String(error), false, error);
      }
    },
    published,
    close: async () => {
      closed = true;
      leave(new Error('closed while it was being opened'));
      publisher?.close();
    },
  };
}

class TopicLost extends Error {
  /** Where the topic begins again. */
  readonly now: TopicPlace;
  constructor(why: string, now: TopicPlace) {
    super(why);
    this.now = now;
  }
}

function splitAtWatermarks(messages: readonly OutgoingMessage[]): readonly (readonly OutgoingMessage[])[] {
  const parts: OutgoingMessage[][] = [];
  let events: OutgoingMessage[] = [];
  for (const message of messages) {
    if (message.kind === 'event') {
      events.push(message);
    } else {
      if (events.length > 0) parts.push(events);
      parts.push([message]);
      events = [];
    }
  }
  if (events.length > 0) parts.push(events);
  return parts;
}
