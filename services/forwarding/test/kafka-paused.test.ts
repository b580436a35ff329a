// Pausing a subscriber stops every route to it, the topic's too, which it reads by itself.
import { waitFor } from '@ballast/database/testing';
import { describeKafka, startTestKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

describeKafka('a subscriber that reads the topic', () => {
  let kafka: TestKafka;
  beforeAll(async () => {
    kafka = await startTestKafka();
  }, 120_000);
  afterAll(() => kafka.remove());

  test('rests there while it is paused, through a restart, and goes on from where it was; it is not disabled', async () => {
    const source = await started(startSource('rest'));
    const subscriber = await started(startSubscriber('query'));
    const forwarder = await started(startForwarder({ source, subscribers: [subscriber], kafka: kafka.connection() }));
    await subscriber.readTopic(kafka.connection(), forwarder);
    const state = async (name: string) =>
      (await forwarder.list()).subscribers.find((one) => one.subscriber === name)?.state;
    await waitFor('Kafka to serve it', async () => (await state('query')) === 'standing_by', 30_000);
    await source.write(300);
    await subscriber.complete(source);

    expect((await forwarder.post('/admin/subscribers/query/disable')).status).toBe(403);
    expect((await forwarder.post('/admin/subscribers/query/pause')).status).toBe(202);
    await waitFor('it to rest', () => subscriber.warnings.includes('the topic is not to be read for now'), 20_000);
    const beats = async () => (await source.query('select max(id)::int as id from journal_watermark')).rows[0].id;
    const published = async () => {
      await source.write(100);
      const last = await beats();
      const isOut = async () => (await beats()) > last + 2 && (await state('kafka')) === 'live';
      await waitFor('them to be in the topic, and read by whoever reads', isOut, 20_000);
    };
    await published();
    await subscriber.leaveTopic();
    await subscriber.readTopic(kafka.connection(), forwarder);
    await published();
    expect(await subscriber.count()).toBe(300);

    await forwarder.post('/admin/subscribers/query/resume');
    await subscriber.complete(source);
    expect(await subscriber.differences(source)).toEqual([]);
    expect(await subscriber.falseWatermarks(source)).toEqual([]);
  }, 120_000);
});
