// The port against a real broker, nothing going wrong: shape, order, watermarks, and the consumer contract behind it.
import { spawnSync } from 'node:child_process';
import { freshDatabase, waitFor } from '@ballast/database/testing';
import { describeKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import knexConstructor from 'knex';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { migrateConsumer, openConsumer } from '../src/index.ts';
import {
  ensureTopics,
  openKafkaConsumer,
  openPublisher,
  ordersTopic,
  partitionOf,
  proveClient,
} from '../src/kafka/index.ts';
import {
  clientOf,
  event,
  events,
  merchantId,
  orderId,
  quiet,
  readAll,
  testKafka,
  versionsByOrder,
} from './support/kafka.ts';

describeKafka('the Kafka port', () => {
  let kafka: TestKafka;
  beforeAll(async () => {
    kafka = await testKafka();
  });
  afterAll(() => kafka.remove());

  test('topics can be declared again, and the client passes its self-test', async () => {
    await ensureTopics(kafka.connection(), 1, quiet);
    await proveClient(kafka.connection(), quiet);
  });

  test('an order stays in one partition, its events in order, its journal text byte for byte; overlapping calls keep their order', async () => {
    const publisher = await openPublisher({ connection: kafka.connection(), logger: quiet });
    const sent = events(100, 3_000);
    const calls: Promise<void>[] = [];
    for (let from = 0; from < sent.length; from += 70) calls.push(publisher.publish(sent.slice(from, from + 70)));
    await Promise.all(calls);
    await publisher.close();

    const records = await readAll(kafka.connection());
    const orders = versionsByOrder(records);
    expect(orders.size).toBe(100);
    for (const versions of orders.values())
      expect(versions).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
    for (const { key, partition } of records) expect(partition).toBe(partitionOf(key ?? '', ordersTopic.partitions));
    const first = records.find(({ headers }) => headers['ce_id'] === `${orderId(7)}:1:1`);
    expect(first?.value).toBe(event(7, 1).data);
    expect(first?.headers).toEqual({
      ce_specversion: '1.0',
      ce_id: `${orderId(7)}:1:1`,
      ce_type: 'ballast.order.approved.v1',
      ce_source: 'collection',
      ce_subject: orderId(7),
      ce_time: '2026-11-24T20:00:00.000Z',
      ce_sequence: '1',
      ce_generation: '1',
      ce_merchantid: merchantId,
      ce_livemode: 'false',
      'content-type': 'application/json',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    });
  });

  test('a watermark reaches every partition, behind the events before it', async () => {
    const publisher = await openPublisher({ connection: kafka.connection(), logger: quiet });
    const value = '2026-11-24T20:00:01.000000Z';
    const run = '0199a000-0000-7000-8000-000000000001';
    await publisher.publish([
      ...Array.from({ length: 200 }, (_, index) => event(1_000 + index, 1)),
      {
        kind: 'watermark',
        source: 'collection',
        generation: 1,
        node: 'orders-1',
        value,
        run,
        after: null,
        since: null,
        replaced: [],
      },
      ...Array.from({ length: 200 }, (_, index) => event(1_000 + index, 2)),
    ]);
    await publisher.close();
    const records = await readAll(kafka.connection());
    for (let partition = 0; partition < ordersTopic.partitions; partition++) {
      const here = records.filter((record) => record.partition === partition);
      const mark = here.findIndex(({ headers }) => headers['ce_type'] === 'ballast.watermark.v1');
      expect(JSON.parse(here[mark]?.value ?? 'null')).toEqual({
        node: 'orders-1',
        value,
        run,
        after: null,
        since: null,
        replaced: [],
      });
      const after = here.slice(mark + 1).filter(({ key }) => key !== null && key >= orderId(1_000));
      expect(after.every(({ headers }) => headers['ce_sequence'] === '2')).toBe(true);
      const before = here.slice(0, mark).filter(({ key }) => key !== null && key >= orderId(1_000));
      expect(before.length).toBe(after.length);
    }
  });

  test('the consumer applies each event once, parks a poison event under its order, and passes over what is not ours', async () => {
    const database = await freshDatabase('kafka_consumer');
    const knex = knexConstructor({ client: 'pg', connection: database.url });
    await migrateConsumer(knex);
    const applied: string[] = [];
    const consumer = openConsumer({
      name: 'test',
      knex,
      logger: quiet,
      apply: async (_, batch) => {
        applied.push(...batch.map(({ order_id, version }) => `${order_id}:${version}`));
      },
    });
    const publisher = await openPublisher({ connection: kafka.connection(), logger: quiet });
    const poison = { ...event(2_000, 1), data: JSON.stringify({ amount: 'many' }) };
    const lost = event(2_002, 2); // its version 1 never comes on this route
    await publisher.publish([poison, event(2_000, 2), event(2_001, 1), lost, event(2_001, 2)]);
    await publisher.close();
    const { client } = clientOf(kafka.connection());
    const stranger = client.producer();
    await stranger.connect();
    await stranger.send({
      topic: ordersTopic.name,
      messages: [
        { key: 'x', value: 'not ours' },
        {
          key: 'x',
          value: '{}',
          headers: { ce_type: 'ballast.order.approved.v1', ce_source: 'x', ce_generation: '1', ce_sequence: '1' },
        },
        { key: null, value: '{}', headers: { ce_type: 'ballast.watermark.v1', ce_source: 'x', ce_generation: '1' } },
        { key: orderId(2_004), value: null },
      ],
    });
    await stranger.disconnect();

    const asked: string[] = [];
    const reading = await openKafkaConsumer({
      connection: kafka.connection(),
      logger: quiet,
      group: 'ballast.query',
      deliver: consumer.deliver,
      askForGaps: async (gaps) => {
        asked.push(
          ...gaps.map(
            ({ order_id, after_version, before_version }) => `${order_id} ${after_version} ${before_version}`,
          ),
        );
      },
    });
    // All that the tests before have published, and the two of order 2001; the rest is held or parked.
    const all = 3_000 + 400 + 2;
    await waitFor(
      'everything to be applied, held, parked or passed over',
      async () =>
        applied.length >= all &&
        reading.strangers() === 4 &&
        asked.length > 0 &&
        (await consumer.parked(10)).length > 0,
      30_000,
    );
    expect(new Set(applied).size).toBe(applied.length);
    expect(applied.filter((id) => id.startsWith(orderId(2_001)))).toEqual([
      `${orderId(2_001)}:1`,
      `${orderId(2_001)}:2`,
    ]);
    expect(applied.some((id) => id.startsWith(orderId(2_000)))).toBe(false);
    expect((await consumer.parked(10)).map(({ order_id, version }) => `${order_id}:${version}`)).toContain(
      `${orderId(2_000)}:1`,
    );
    expect(asked[0]).toBe(`${orderId(2_002)} 0 2`);
    await reading.close();
    expect(await reading.ended).toBeUndefined();

    // Everything before is committed: a new member of the group is given what comes after, and no more.
    const given: unknown[] = [];
    const again = await openKafkaConsumer({
      connection: kafka.connection(),
      logger: quiet,
      group: 'ballast.query',
      deliver: async (messages) => {
        given.push(...messages);
        return { applied: messages.length, repeated: 0, held: 0, parked: 0, gaps: [], progress: [] };
      },
      askForGaps: async () => {},
    });
    const next = await openPublisher({ connection: kafka.connection(), logger: quiet });
    await next.publish([event(2_003, 1)]);
    await waitFor('the new event', () => given.length > 0);
    expect(given).toMatchObject([{ order_id: orderId(2_003), version: 1, data: { amount: 1250 } }]);
    await Promise.all([again.close(), next.close()]);
    await knex.destroy();
    await database.drop();
  });

  test('a delivery that fails comes again, and nothing of it is committed', async () => {
    const publisher = await openPublisher({ connection: kafka.connection(), logger: quiet });
    await publisher.publish([event(3_000, 1), event(3_000, 2)]);
    await publisher.close();
    const tries: number[] = [];
    const reading = await openKafkaConsumer({
      connection: kafka.connection(),
      logger: quiet,
      group: 'ballast.sync',
      deliver: async (messages) => {
        const ours = (messages as { order_id?: string; version: number }[]).filter(
          ({ order_id }) => order_id === orderId(3_000),
        );
        if (ours.length > 0) tries.push(ours.length);
        if (tries.length < 3) throw new Error('the database is away');
        return { applied: messages.length, repeated: 0, held: 0, parked: 0, gaps: [], progress: [] };
      },
      askForGaps: async () => {},
    });
    await waitFor('the third try', () => tries.length >= 3);
    expect(tries.slice(0, 3)).toEqual([2, 2, 2]);
    await reading.close();
  });

  test('kcat, a client nobody here wrote, reads keys, headers and order', ({ skip }) => {
    skip(spawnSync('kcat', ['-V']).status !== 0, 'kcat is missing: npm test fetches it where Debian has it');
    const words = ['-C', '-q', '-e', '-b', kafka.bootstrap.join(','), '-t', ordersTopic.name, '-o', 'beginning'];
    const { stdout, status } = spawnSync('kcat', [...words, '-f', '%p\t%k\t%h\t%s\n'], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    });
    expect(status).toBe(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t'));
    const ours = lines.filter(([, key]) => key === orderId(7));
    expect(ours.map(([, , headers]) => /ce_sequence=(\d+)/.exec(headers ?? '')?.[1])).toEqual(
      Array.from({ length: 30 }, (_, index) => String(index + 1)),
    );
    expect(new Set(ours.map(([partition]) => partition))).toEqual(
      new Set([String(partitionOf(orderId(7), ordersTopic.partitions))]),
    );
    expect(ours[0]?.[2]).toContain('ce_type=ballast.order.approved.v1');
    expect(ours[0]?.[3]).toBe(event(7, 1).data);
  });
});
