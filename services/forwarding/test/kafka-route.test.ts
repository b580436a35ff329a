// The route machine, with a real broker.
import { waitFor } from '@ballast/database/testing';
import { describeKafka, startTestKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import { createLogger } from '@ballast/telemetry';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openKafkaSender } from '../src/delivery/send-to-kafka.ts';
import { type RunningForwarder, startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';
import { wrongOrders } from './support/topic.ts';

const logger = createLogger({ service: 'forwarding', level: 'silent' });

describeKafka('the route machine', () => {
  let kafka: TestKafka;

  beforeAll(async () => {
    kafka = await startTestKafka();
  }, 120_000);

  afterAll(() => kafka.remove());

  const route = async (forwarder: RunningForwarder) => (await forwarder.list()).sources[0]?.route;

  test('a sender that is closed while it is being opened leaves no publisher behind', async () => {
    const connection = { ...kafka.connection(), replicas: 1 };
    const sender = openKafkaSender({ connection, logger, acknowledged: null, onLost: () => {}, onTopics: () => {} });
    const sending = sender.send([]);
    await sender.close();
    await expect(sending).rejects.toThrow('closed while it was being opened');
  });

  test('Kafka dies under load: the direct route takes over, the topic is caught up, and every way is complete', async () => {
    const source = await started(startSource('route'));
    const subscriber = await started(startSubscriber('query'));
    const forwarder = await started(startForwarder({ source, subscribers: [subscriber], kafka: kafka.connection() }));
    await subscriber.readTopic(kafka.connection(), forwarder);
    await source.write(500);
    await waitFor('the route to be kafka', async () => (await route(forwarder)) === 'kafka', 30_000);
    const load = source.load(400);
    const before = await subscriber.count();
    await waitFor('events by Kafka', async () => (await subscriber.count()) > before + 400, 20_000);

    await kafka.kill(0);
    await waitFor('the route to be direct', async () => (await route(forwarder)) === 'direct', 20_000);
    const then = await subscriber.count();
    await waitFor('deliveries to go on', async () => (await subscriber.count()) > then + 800, 20_000);

    await kafka.restart(0);
    await waitFor('the route to be kafka again', async () => (await route(forwarder)) === 'kafka', 60_000);
    await load.stop();
    await subscriber.complete(source);
    expect(await subscriber.differences(source)).toEqual([]);
    expect(await subscriber.falseWatermarks(source)).toEqual([]);
    await waitFor(
      'the topic to be complete',
      async () => (await wrongOrders(kafka.connection(), source)).length === 0,
      30_000,
    );
  }, 180_000);
});
