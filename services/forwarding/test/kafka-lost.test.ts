// A subscriber of the topic that loses Kafka, with a real broker.
import { waitFor } from '@ballast/database/testing';
import { describeKafka, startTestKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

describeKafka("ways of one topic's subscribers", () => {
  let kafka: TestKafka;

  beforeAll(async () => {
    kafka = await startTestKafka();
  }, 120_000);

  afterAll(() => kafka.remove());

  test('a subscriber that loses Kafka is served directly, alone, from where it is; its watermarks stay true', async () => {
    const source = await started(startSource('lost'));
    const [losing, reading] = [await started(startSubscriber('losing')), await started(startSubscriber('reading'))];
    const forwarder = await started(
      startForwarder({ source, subscribers: [losing, reading], kafka: kafka.connection() }),
    );
    for (const subscriber of [losing, reading]) await subscriber.readTopic(kafka.connection(), forwarder);
    const stateOf = async (name: string) =>
      (await forwarder.list()).subscribers.find(({ subscriber }) => subscriber === name)?.state;
    const standsBy = (name: string) =>
      waitFor(`${name} to be Kafka's`, async () => (await stateOf(name)) === 'standing_by', 60_000);
    const load = source.load(300);
    await Promise.all([standsBy('losing'), standsBy('reading')]);

    await losing.leaveTopic();
    await waitFor('to be served directly', async () => (await stateOf('losing')) === 'live', 30_000);
    expect(await stateOf('reading')).toBe('standing_by');
    const then = await losing.count();
    await waitFor('deliveries to go on', async () => (await losing.count()) > then + 300, 30_000);

    await losing.readTopic(kafka.connection(), forwarder);
    await standsBy('losing');
    // Kafka is gone while it reads nothing: what Kafka has acknowledged meanwhile comes directly as well.
    await losing.leaveTopic();
    const written = losing.watermarks.length;
    await kafka.kill(0);
    const route = async () => (await forwarder.list()).sources[0]?.route;
    await waitFor('the route to be direct', async () => (await route()) === 'direct', 20_000);
    await waitFor('watermarks to go on', () => losing.watermarks.length > written + 2, 30_000);
    await load.stop();
    for (const subscriber of [losing, reading]) {
      await subscriber.complete(source);
      expect(await subscriber.differences(source)).toEqual([]);
      expect(await subscriber.falseWatermarks(source)).toEqual([]);
      expect(subscriber.watermarks.length).toBeGreaterThan(10);
    }
  }, 240_000);
});
