// What watermarks prove to a consumer, with its database; every schedule of them is tried in watermarks.property.test.ts.
import { BEFORE_EVERYTHING, type Watermark } from '@ballast/contracts';
import { type Knex, openDatabase } from '@ballast/database';
import { freshDatabase, type TestDatabase } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Consumer, type ConsumerOptions, migrateConsumer, openConsumer, readWatermarks } from '../src/index.ts';
import { newOrderId, orderEvent } from './support/events.ts';

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
  await knex.raw('truncate effect, consumer_position, consumer_held, consumer_watermark, consumer_stream');
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

const run = '0199a000-0000-7000-8000-000000000001';

function watermark(value: string, after: string | null = BEFORE_EVERYTHING, generation = 1): Watermark {
  return { kind: 'watermark', source: 'collection', generation, node: 'main', value, run, after, since: null };
}

const second = (count: number) => `2026-11-24T20:00:0${count}.000000Z`;

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
