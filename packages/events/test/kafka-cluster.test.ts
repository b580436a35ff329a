// Three nodes: a leader dies in the middle of sending, and the others go on without the caller noticing more than a pause.
import { waitFor } from '@ballast/database/testing';
import { describeKafka, startTestKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import type kafkajs from 'kafkajs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureTopics, openPublisher, topics } from '../src/kafka/index.ts';
import { clientOf, events, fold, quiet, readAll, versionsByOrder } from './support/kafka.ts';

describeKafka('a cluster of three', () => {
  let kafka: TestKafka;
  beforeAll(async () => {
    kafka = await startTestKafka({ brokers: 3 });
  });
  afterAll(() => kafka.remove());

  test('topics get as many replicas as are wanted, also while a node is away; where there are fewer, they are not made', async () => {
    await expect(ensureTopics(kafka.connection(), 4, quiet)).rejects.toThrow(/of 4 replicas cannot be made/);
    await kafka.kill(2);
    await waitFor('the others to notice', async () => (await ask(kafka, livingNodes)) === 2, 20_000);
    const made = await waitFor('them to be made', () =>
      ensureTopics(kafka.connection(), 3, quiet).then(
        (difference) => ({ difference }),
        () => undefined, // who controls the cluster may have yet to be elected
      ),
    );
    expect(made).toEqual({ difference: null });
    await kafka.restart(2);
    await waitFor(
      'every replica to be in sync',
      async () => (await ask(kafka, inSync)).every((count) => count === 3),
      30_000,
    );

    const difference = await ensureTopics(kafka.connection(), 4, quiet);
    for (const { name } of topics) {
      expect(difference).toContain(`${name} has 3 replicas, wanted are 4`);
      expect(difference).toContain(`min.insync.replicas of ${name} is 2, declared is 3`);
    }
  }, 120_000);

  test('a node killed in the middle of sending: nothing rejected, nothing lost, each order in order', async () => {
    await ensureTopics(kafka.connection(), 3, quiet);
    const publisher = await openPublisher({ connection: kafka.connection(), logger: quiet, giveUpAfterMs: 40_000 });
    const sent = events(200, 12_000);
    let acknowledged = 0;
    const flights = new Set<Promise<void>>();
    const sending = (async () => {
      for (let from = 0; from < sent.length; from += 300) {
        const flight: Promise<void> = publisher.publish(sent.slice(from, from + 300)).then(() => {
          acknowledged += 300;
          flights.delete(flight);
        });
        flights.add(flight);
        if (flights.size >= 4) await Promise.race(flights);
      }
      await Promise.all(flights);
    })();
    await waitFor('a quarter acknowledged', () => acknowledged >= 3_000);
    await kafka.kill(0); // leads some of the partitions
    expect(acknowledged).toBeLessThan(sent.length);
    await sending;
    await publisher.close();
    const folded = [...versionsByOrder(await readAll(kafka.connection())).values()].map(fold);
    expect(folded.length).toBe(200);
    expect(folded.every(({ last, gaps }) => last === 60 && gaps === 0)).toBe(true);
    // Each partition's batch is sent again by itself, so that not even a moving leader makes a repeat.
    expect(folded.reduce((sum, { repeats }) => sum + repeats, 0)).toBe(0);
  }, 120_000);
});

async function ask<T>(kafka: TestKafka, what: (admin: kafkajs.Admin) => Promise<T>): Promise<T> {
  const admin = clientOf(kafka.connection()).client.admin();
  await admin.connect();
  try {
    return await what(admin);
  } finally {
    await admin.disconnect();
  }
}

async function livingNodes(admin: kafkajs.Admin): Promise<number> {
  return (await admin.describeCluster()).brokers.length;
}

/** How many of its replicas each partition of the topics has in sync. */
async function inSync(admin: kafkajs.Admin): Promise<number[]> {
  const { topics: found } = await admin.fetchTopicMetadata({ topics: topics.map(({ name }) => name) });
  return found.flatMap(({ partitions }) => partitions.map(({ isr }) => isr.length));
}
