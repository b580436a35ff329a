// Three nodes: a leader dies in the middle of sending, and the others go on without the caller noticing more than a pause.
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPublisher } from '../src/kafka/index.ts';
import {
  describeKafka,
  events,
  fold,
  quiet,
  readAll,
  type TestKafka,
  testKafka,
  versionsByOrder,
} from './support/kafka.ts';

describeKafka('a cluster of three', () => {
  let kafka: TestKafka;
  beforeAll(async () => {
    kafka = await testKafka({ brokers: 3 });
  });
  afterAll(() => kafka.remove());

  test('a node killed in the middle of sending: nothing rejected, nothing lost, each order in order', async () => {
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
    await kafka.kill(0); // leads a third of the partitions
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
