// With a real broker. A machine without Java or Maven skips, with the reason; CI does not.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '@ballast/database/testing';
import { missingForKafka, type RunningKafka, startKafka } from '@ballast/infra-kafka';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { change, lose, sell, startShop, today } from './support/shop.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';
import { readOrders } from './support/topic.ts';

const missing = missingForKafka();
const required = process.env['CI'] === 'true';

describe.skipIf(missing !== undefined && !required)(`the orders' topic (${missing ?? 'with a real Kafka'})`, () => {
  let kafka: RunningKafka;
  let directory: string;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'ballast-snapshots-'));
    kafka = await startKafka({ dataDir: directory, brokers: 1 });
  }, 120_000);
  afterAll(async () => {
    await kafka.kill(0);
    rmSync(directory, { recursive: true });
  });

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
