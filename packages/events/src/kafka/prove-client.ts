// The client's self-test, before anything depends on it: a batch written to a topic of its own gets distinct, consecutive
// offsets and is read back byte for byte, with its headers. A client that was upgraded, patched or exchanged and gets this
// wrong would do so silently.
import { randomUUID } from 'node:crypto';
import type kafkajs from 'kafkajs';
import { connectKafka, idempotentProducer, type KafkaConnection, type KafkaLogger } from './connection.ts';
import { clientCheckTopic } from './topics.ts';

const RECORDS = 20;
const READ_LIMIT_MS = 20_000;

/** Resolves when the client is what we take it for. */
export async function proveClient(connection: KafkaConnection, logger: KafkaLogger): Promise<void> {
  const topic = clientCheckTopic.name;
  const run = randomUUID();
  const kafka = connectKafka(connection, 'ballast-client-check', logger);
  const sent = Array.from({ length: RECORDS }, (_, index) => ({
    key: run,
    value: `{"n":${index},"text":"ä€😀\\u0000"}`,
    headers: { ce_id: `${run}:${index}`, empty: '' },
    partition: 0,
  }));
  const producer = idempotentProducer(kafka);
  try {
    await producer.connect();
    const bases: number[] = [];
    for (const half of [sent.slice(0, RECORDS / 2), sent.slice(RECORDS / 2)])
      bases.push(Number((await producer.send({ topic, acks: -1, messages: half }))[0]?.baseOffset));
    const [first = Number.NaN, second = Number.NaN] = bases;
    // Others may check at the same time, between our two batches; within a batch nobody can.
    if (!(second >= first + RECORDS / 2)) throw new Error(`two batches got the offsets ${first} and ${second}`);
    const read = await readBack(kafka.consumer({ groupId: `${topic}.${run}`, allowAutoTopicCreation: false }), run);
    const wanted = sent.map(({ headers, value }) => `${headers.ce_id}|${headers.empty}|${value}`);
    if (read.some(({ text }, index) => text !== wanted[index]))
      throw new Error('records came back changed or out of order');
    if (new Set(read.map(({ offset }) => offset)).size !== RECORDS) throw new Error('two records have the same offset');
  } catch (error) {
    throw new Error(`The Kafka client failed its self-test: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  } finally {
    await Promise.allSettled([producer.disconnect()]);
  }
}

interface ReadBack {
  readonly offset: string;
  readonly text: string;
}

/** The records whose key is `run`, in the order they came. The topic keeps an hour: little is read that is not ours. */
async function readBack(consumer: kafkajs.Consumer, run: string): Promise<ReadBack[]> {
  const read: ReadBack[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(new Error(`read ${read.length} of ${RECORDS} records back`)), READ_LIMIT_MS);
  consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
    if (!restart) reject(error);
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topic: clientCheckTopic.name, fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message: { key, value, headers, offset } }) => {
        if (key?.toString() !== run) return;
        read.push({ offset, text: `${headers?.['ce_id']}|${headers?.['empty']}|${value}` });
        if (read.length === RECORDS) resolve();
      },
    });
    await promise;
    return read;
  } finally {
    clearTimeout(timer);
    promise.catch(() => undefined); // when connecting has failed already
    await consumer.disconnect();
  }
}
