// Kafka as one more receiver of a feed. A publisher that fails is thrown away, and another is opened for the next try:
// what it held is unknown, and the feed sends it again (repeats in the topic are allowed, losses are not).
import { refuseInTransaction } from '@ballast/database';
import {
  ensureTopics,
  type KafkaConnection,
  type OutgoingMessage,
  openPublisher,
  type Publisher,
  PublishFailed,
  proveClient,
} from '@ballast/events/kafka';
import type { Logger } from '@ballast/telemetry';
import { DeliveryFailed, type Sender } from './send-delivery.ts';

export interface KafkaSenderOptions {
  readonly connection: KafkaConnection;
  readonly logger: Logger;
  /** The topic is not the one that was written to: everything in the journal belongs into it again. */
  onWiped(): void;
}

/** Sooner than the publisher's own default: by then the direct route serves, and a new publisher knows the new leaders. */
const GIVE_UP_AFTER_MS = 5_000;

export function openKafkaSender({ connection, logger, onWiped }: KafkaSenderOptions): Sender {
  let proven = false;
  let publisher: Publisher | undefined;

  async function open(): Promise<Publisher> {
    if (!proven) {
      await ensureTopics(connection, logger);
      await proveClient(connection, logger);
      proven = true;
    }
    return openPublisher({ connection, logger, giveUpAfterMs: GIVE_UP_AFTER_MS });
  }

  async function publish(messages: readonly OutgoingMessage[]): Promise<void> {
    publisher ??= await open();
    // A watermark follows only when everything before it is acknowledged, in every partition.
    for (const part of splitAtWatermarks(messages)) await publisher.publish(part);
  }

  return {
    send: async (messages) => {
      refuseInTransaction('Kafka');
      try {
        await publish(messages);
        return { applied: messages.length, repeated: 0, held: 0, parked: 0, gaps: [], progress: [] };
      } catch (error) {
        const failed = publisher;
        publisher = undefined;
        await failed?.close();
        if (error instanceof PublishFailed && error.reason === 'topic_wiped') onWiped();
        throw new DeliveryFailed(error instanceof Error ? error.message : String(error), false, error);
      }
    },
    close: async () => {
      await publisher?.close();
    },
  };
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
