// What watermarks prove to a consumer, with its database; every schedule of them is tried in watermarks.property.test.ts.
import { BEFORE_EVERYTHING, type Watermark } from '@ballast/contracts';
import { type Knex, openDatabase } from '@ballast/database';
import { freshDatabase, type TestDatabase } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Consumer, type ConsumerOptions, migrateConsumer, openConsumer, readWatermarks } from '../src/index.ts';
import { newOrderId, orderEvent, second, watermark } from './support/events.ts';

let database: TestDatabase;
let knex: Knex;

beforeAll(async () => {
  database = await freshDatabase('consumer_watermarks');
  knex = openDatabase({ url: database.url, applicationName: 'watermarks test', poolMax: 4 });
  await migrateConsumer(knex);
  await knex.raw('create table effect (order_id uuid not null)');
});

afterAll(async () => {
  await knex.destroy();
  await database.drop();
});

beforeEach(async () => {
  await knex.raw(
    'truncate effect, consumer_position, consumer_held, consumer_watermark, consumer_stream, consumer_replaced',
  );
});

function open(extra: Partial<ConsumerOptions> = {}): Consumer {
  const logger = { warn: () => undefined, error: () => undefined };
  return openConsumer({
    name: 'test',
    knex,
    logger,
    apply: async (trx, events) => {
      await trx.raw('insert into effect select unnest(?::uuid[])', [events.map((event) => event.order_id)]);
    },
    ...extra,
  });
}

test('a watermark is passed on after the events before it, and never backwards', async () => {
  const seen: string[] = [];
  const order = newOrderId();
  const consumer = open({
    onWatermark: async (trx, mark) => {
      const { rows } = await trx.raw('select count(*)::int as count from effect where order_id = ?', [order]);
      seen.push(`${mark.value} of ${mark.generation} after ${rows[0].count}`);
    },
  });
  const begins = watermark(BEFORE_EVERYTHING, null);
  await consumer.deliver([begins, orderEvent(order, 1), watermark(second(1)), orderEvent(order, 2)]);
  await consumer.deliver([watermark(second(3), second(1))]);
  await consumer.deliver([watermark(second(1)), watermark(second(2), second(1))]);
  await consumer.deliver([watermark(second(2), second(3), 2)]);
  await consumer.deliver([watermark(second(9), second(3), 1)]);
  expect(seen).toEqual([`${second(1)} of 1 after 2`, `${second(3)} of 1 after 2`, `${second(2)} of 2 after 2`]);
});

test('a topic proves only as much as the partition that is furthest behind, beside another topic', async () => {
  const consumer = open();
  const on = (route: string, partition: number, mark: Watermark) => ({
    ...mark,
    stream: { route, partition, partitions: 3 },
  });
  const known = async () => (await readWatermarks(knex)).map((mark) => mark.value);
  const begins = watermark(BEFORE_EVERYTHING, null);
  for (const route of ['orders', 'others'])
    await consumer.deliver([0, 1, 2].map((partition) => on(route, partition, begins)));
  await consumer.deliver([on('orders', 0, watermark(second(5))), on('orders', 1, watermark(second(7)))]);
  expect(await known()).toEqual([]);
  await consumer.deliver([on('orders', 2, watermark(second(4)))]);
  expect(await known()).toEqual([second(4)]);
  const { progress } = await consumer.deliver([on('orders', 2, watermark(second(9), second(4)))]);
  expect(progress).toMatchObject([{ value: second(5), by_topic: second(5) }]);
});

test('a watermark on one route proves nothing of what came before the route began, until another has proven that', async () => {
  const consumer = open();
  const onTopic = (mark: Watermark) => ({ ...mark, stream: { route: 'orders', partition: 0, partitions: 1 } });
  const known = async () => (await readWatermarks(knex)).map((mark) => mark.value);
  await consumer.deliver([onTopic(watermark(BEFORE_EVERYTHING, null)), onTopic(watermark(second(1)))]);
  // Direct deliveries begin at second 3; what was decided between 1 and 3 lies in the topic, not read yet.
  await consumer.deliver([watermark(second(3), null), watermark(second(6), second(3))]);
  expect(await known()).toEqual([second(1)]);
  await consumer.deliver([onTopic(watermark(second(2), second(1)))]);
  expect(await known()).toEqual([second(2)]);
  await consumer.deliver([onTopic(watermark(second(4), second(2)))]);
  expect(await known()).toEqual([second(6)]);
});

test('what was forgotten is not proven by a watermark that follows what is not known any more', async () => {
  const consumer = open();
  await consumer.deliver([watermark(BEFORE_EVERYTHING, null), watermark(second(1))]);
  await knex.transaction((trx) => consumer.forgetEverything(trx));
  const { progress } = await consumer.deliver([watermark(second(2), second(1))]);
  expect(progress).toMatchObject([{ value: BEFORE_EVERYTHING, by_topic: null }]);
  expect(await readWatermarks(knex)).toEqual([]);
});

/** Of generation 2, which has everything that was decided before second `from`. */
function replacing(value: string, after: string | null, from: number): Watermark {
  return { ...watermark(value, after, 2), replaced: [{ generation: 2, from: second(from) }] };
}

async function waiting(): Promise<string[]> {
  const { rows } = await knex.raw('select order_id from consumer_position where waits_for is not null');
  return rows.map(({ order_id }: { order_id: string }) => order_id);
}

test('a newer generation vouches for no order whose last event it may have lost, until it has said what the order is', async () => {
  const seen: string[][] = [];
  const consumer = open({
    onWatermark: async (trx) => {
      const { rows } = await trx.raw('select order_id from consumer_position where waits_for is not null');
      seen.push(rows.map(({ order_id }: { order_id: string }) => order_id));
    },
    reconcile: async (trx, forks) => {
      await trx.raw('delete from effect where order_id = any(?::uuid[])', [forks.map((fork) => fork.order_id)]);
    },
  });
  const [lost, kept, moved] = [newOrderId(), newOrderId(), newOrderId()];
  const at = (order: string, version: number, when: number, extra = {}) =>
    orderEvent(order, version, { occurred_at: second(when), ...extra });
  await consumer.deliver([
    watermark(BEFORE_EVERYTHING, null),
    ...[lost, kept, moved].map((order) => at(order, 1, 1)),
    at(lost, 2, 5),
    at(moved, 2, 5),
    watermark(second(6)),
  ]);
  // `moved` was written again, and comes by itself; of `lost` the new history has version 1 only.
  const again = [at(moved, 1, 1), at(moved, 2, 6, { generation: 2 })];
  const reply = await consumer.deliver([...again, replacing(second(7), second(6), 4)]);
  expect(seen).toEqual([[], [lost]]);
  expect(reply.gaps).toEqual([
    { merchant_id: at(lost, 1, 1).merchant_id, order_id: lost, after_version: 0, before_version: 4 },
  ]);
  // The journal's own events say nothing about what is not there.
  await consumer.deliver([at(lost, 1, 1)]);
  expect(await waiting()).toEqual([lost]);
  await consumer.deliver([at(lost, 1, 1, { generation: 2, type: 'snapshot' })]);
  expect(await waiting()).toEqual([]);
  const { rows } = await knex.raw('select generation, version from consumer_position where order_id = ?', [lost]);
  expect(rows).toEqual([{ generation: 2, version: 1 }]);
});

test('an event of the lost history that comes after the newer generation is proven is not vouched for either', async () => {
  const consumer = open();
  const [late, early] = [newOrderId(), newOrderId()];
  await consumer.deliver([watermark(BEFORE_EVERYTHING, null), watermark(second(6))]);
  await consumer.deliver([replacing(second(7), second(6), 4)]);
  // As from a topic that is read behind: decided before the loss, and after it.
  await consumer.deliver([
    orderEvent(early, 1, { occurred_at: second(3) }),
    orderEvent(late, 1, { occurred_at: second(5) }),
  ]);
  expect(await waiting()).toEqual([late]);
  // What follows in the newer generation, together with what stands before it, settles it.
  await consumer.deliver([
    orderEvent(late, 1, { occurred_at: second(5) }),
    orderEvent(late, 2, { occurred_at: second(8), generation: 2 }),
  ]);
  expect(await waiting()).toEqual([]);
});

test('a parked order stays parked when its history was lost, and waits on for the newer one once a person has looked', async () => {
  const order = newOrderId();
  let poison = true;
  const consumer = open({
    apply: async (_trx, events) => {
      if (poison && events.some(({ version }) => version === 2)) throw new Error('poison');
    },
    reconcile: async () => undefined,
  });
  await consumer.deliver([watermark(BEFORE_EVERYTHING, null), orderEvent(order, 1, { occurred_at: second(5) })]);
  await consumer.deliver([orderEvent(order, 2, { occurred_at: second(5) }), watermark(second(6))]);
  await consumer.deliver([replacing(second(7), second(6), 4)]);
  const waits = async () => (await knex.raw('select waits_for from consumer_position')).rows;
  expect(await waits()).toEqual([{ waits_for: 'parked' }]);
  poison = false;
  await consumer.retryParked(order);
  expect(await waits()).toEqual([{ waits_for: 'gap' }]);
});

test('a route of a newer generation is joined where the older one proves everything that both have in common', async () => {
  const consumer = open();
  const known = async () => (await readWatermarks(knex)).map(({ generation, value }) => `${generation} ${value}`);
  await consumer.deliver([watermark(BEFORE_EVERYTHING, null), watermark(second(6))]);
  const other = { run: '0199a000-0000-7000-8000-000000000002' };
  await consumer.deliver([
    { ...replacing(second(5), null, 4), ...other },
    { ...replacing(second(8), second(5), 4), ...other },
  ]);
  expect(await known()).toEqual([`1 ${second(6)}`]);
  await consumer.deliver([
    { ...replacing(second(4), null, 4), ...other },
    { ...replacing(second(8), second(4), 4), ...other },
  ]);
  expect(await known()).toEqual([`2 ${second(8)}`]);
});
