// Snapshots in the orders' topic, on a real broker.
import { waitFor } from '@ballast/database/testing';
import { describeKafka, startTestKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { change, lose, sell, startShop, today } from './support/shop.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';
import { readOrders } from './support/topic.ts';

describeKafka("the orders' topic", () => {
  let kafka: TestKafka;

  beforeAll(async () => {
    kafka = await startTestKafka();
  }, 120_000);
  afterAll(() => kafka.remove());

  test('has a snapshot of each order whose events are gone, and goes on behind it', async () => {
    const source = await startShop('topic');
    const ids = await sell(source, today, 20);
    await change(source, ids);
    await lose(source, 'order_id = any($1::uuid[])', [ids.slice(0, 10)]);
    const subscriber = await started(startSubscriber('query'));
    const forwarder = await started(startForwarder({ source, subscribers: [subscriber], kafka: kafka.connection() }));
    await forwarder.live('kafka');
    await change(source, ids);
    const told = async () => {
      const orders = await readOrders(kafka.connection());
      return ids.map((id) => (orders.get(id) ?? []).join(' '));
    };
    await waitFor('the topic to be complete', async () => (await told()).every((one) => one.includes('3')), 60_000);
    for (const [index, one] of (await told()).entries())
      expect(one).toBe(index < 10 ? '2 snapshot 3 approved' : '1 accepted 2 approved 3 approved');
  }, 120_000);
});
