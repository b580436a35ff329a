// The client's self-test, before anything depends on it: what the publisher writes to a topic of its own gets consecutive
// offsets, and the consumer's side reads it back as it was. A client that was changed, upgraded or exchanged and gets this
// wrong would do so silently.
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type kafkajs from 'kafkajs';
import { connectKafka, type KafkaConnection, type KafkaLogger } from './connection.ts';
import { openPublisher } from './publisher.ts';
import { messageOf, type OutgoingEvent } from './record.ts';
import { clientCheckTopic } from './topics.ts';

const EVENTS = 20;
const READ_LIMIT_MS = 20_000;

/** Resolves when the client is what we take it for. */
export async function proveClient(connection: KafkaConnection, logger: KafkaLogger): Promise<void> {
  const run = randomUUID();
  const sent = Array.from({ length: EVENTS }, (_, index) => checkEvent(run, index + 1));
  try {
    await publishInTwo(connection, logger, sent);
    const group = `${clientCheckTopic.name}.${run}`;
    const read = await readBack(
      connectKafka(connection, group, logger).consumer({ groupId: group, allowAutoTopicCreation: false }),
      run,
    );
    const wanted = sent.map((event) => ({ ...event, data: JSON.parse(String(event.data)) }));
    if (!isDeepStrictEqual(read, wanted)) throw new Error('events came back changed or out of order');
  } catch (error) {
    throw new Error(`The Kafka client failed its self-test: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}

/** Texts of one, two, three and four bytes a character, an empty one, a missing one, and a value of 10 kB. */
function checkEvent(run: string, version: number): OutgoingEvent {
  return {
    kind: 'event',
    id: `${run}:${version}:1`,
    source: version % 2 === 0 ? '' : 'cheque-é€😀',
    generation: 1,
    type: 'approved',
    order_id: run,
    merchant_id: run,
    version,
    livemode: version % 2 === 0,
    occurred_at: '2026-01-01T00:00:00.000Z',
    traceparent: version % 2 === 0 ? null : `00-${run}`,
    data: JSON.stringify({ merchant_id: run, text: 'aé€😀'.repeat(version === EVENTS ? 1_000 : 1) }),
  };
}

async function publishInTwo(connection: KafkaConnection, logger: KafkaLogger, sent: readonly OutgoingEvent[]) {
  const publisher = await openPublisher({ connection, logger, topic: clientCheckTopic });
  try {
    await publisher.publish(sent.slice(0, EVENTS / 2));
    const [half = Number.NaN] = publisher.nextOffsets();
    await publisher.publish(sent.slice(EVENTS / 2));
    const [end = Number.NaN] = publisher.nextOffsets();
    // Others may check at the same time, between our two batches; they can only make it more.
    if (!(end >= half + EVENTS / 2)) throw new Error(`two batches ended at the offsets ${half} and ${end}`);
  } finally {
    publisher.close();
  }
}

/** The messages of this run, in the order they came. The topic keeps an hour: little is read that is not ours. */
async function readBack(consumer: kafkajs.Consumer, run: string): Promise<unknown[]> {
  const read: unknown[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => undefined); // it may reject before it is waited for
  const timer = setTimeout(() => reject(new Error(`read ${read.length} of ${EVENTS} events back`)), READ_LIMIT_MS);
  consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
    if (!restart) reject(error);
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topic: clientCheckTopic.name, fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => {
        if (message.key?.toString() !== run) return;
        read.push(messageOf(message));
        if (read.length === EVENTS) resolve();
      },
    });
    await promise;
    return read;
  } finally {
    clearTimeout(timer);
    await consumer.disconnect();
  }
}
