// A generation was raised, and more orders are to be marked than the database gets through in the time of one statement.
import { BEFORE_EVERYTHING, type Watermark } from '@ballast/contracts';
import { type Knex, openDatabase } from '@ballast/database';
import { freshDatabase, type TestDatabase } from '@ballast/database/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Consumer, type ConsumerOptions, migrateConsumer, openConsumer, readWatermarks } from '../src/index.ts';
import { merchantId, newOrderId, orderEvent, second, watermark } from './support/events.ts';

const ORDERS = 300_000;
let database: TestDatabase;
let knex: Knex;
let hurried: Knex;

beforeEach(async () => {
  database = await freshDatabase('mark_replaced');
  const { url } = database;
  const patient = { statementTimeoutMs: 60_000, transactionTimeoutMs: 60_000 };
  knex = openDatabase({ url, applicationName: 'marks test', poolMax: 4, ...patient });
  hurried = openDatabase({ url, applicationName: 'marks test', poolMax: 4, statementTimeoutMs: 250 });
  await migrateConsumer(knex);
});

afterEach(async () => {
  await knex.destroy();
  await hurried.destroy();
  await database.drop();
});

function open(extra: Partial<ConsumerOptions> = {}): Consumer {
  const logger = { warn: () => undefined, error: () => undefined };
  return openConsumer({ name: 'test', knex: hurried, logger, apply: async () => undefined, ...extra });
}

/** Of generation 1, of which half are from before second 4. */
async function fill(): Promise<void> {
  await knex.raw(
    `insert into consumer_position (order_id, source, merchant_id, generation, version, occurred_at)
     select (lpad(to_hex(n * 2), 8, '0') || '-0000-7000-8000-000000000000')::uuid, 'collection', ?, 1, 1,
       case when n % 2 = 0 then ?::timestamptz else ?::timestamptz end
     from generate_series(1, ?::int) as n`,
    [merchantId, second(3), second(5), ORDERS],
  );
}

const orderNumber = (n: number) => `${n.toString(16).padStart(8, '0')}-0000-7000-8000-000000000000`;

function replacing(value: string, after: string, from: string): Watermark {
  return { ...watermark(value, after, 2), replaced: [{ generation: 2, from }] };
}

async function count(where: string): Promise<number> {
  return (await knex.raw(`select count(*)::int as count from consumer_position where ${where}`)).rows[0].count;
}

test.each([
  ['nothing is known to be common', BEFORE_EVERYTHING, ORDERS],
  ['half of them are from after the loss', second(4), ORDERS / 2],
])(
  'however many orders are to be marked, the newer generation is proven at last, and not before: %s',
  async (_, from, toMark) => {
    const told: number[] = [];
    const options: Partial<ConsumerOptions> = { onWatermark: async (_, { generation }) => void told.push(generation) };
    await open().deliver([watermark(BEFORE_EVERYTHING, null), watermark(second(6))]);
    await fill();
    let consumer = open(options);
    const raised = replacing(second(7), second(6), from);
    let deliveries = 0;
    for (await consumer.deliver([raised]); told.length === 0; deliveries++) {
      expect(await readWatermarks(knex)).toEqual([]);
      // Other orders flow meanwhile, and a process that dies goes on where it was.
      expect(await consumer.deliver([orderEvent(newOrderId(), 1, { generation: 2 })])).toMatchObject({ applied: 1 });
      if (deliveries % 10 === 0) consumer = open(options);
      const { progress } = await consumer.deliver([raised]);
      expect(progress).toMatchObject([{ generation: 2, value: second(7) }]); // it has everything that came
    }
    expect(deliveries).toBeGreaterThan(0);
    expect(told).toEqual([2]);
    expect(await count(`waits_for = 'gap'`)).toBe(toMark);
    expect(await readWatermarks(knex)).toMatchObject([{ generation: 2, value: second(7) }]);
  },
  300_000,
);

test('what comes late from the lost history waits, whether or not the marking has passed its place', async () => {
  await open().deliver([watermark(BEFORE_EVERYTHING, null), watermark(second(6))]);
  await fill();
  await open().deliver([replacing(second(7), second(6), second(4))]);
  const { rows } = await knex.raw('select marked_up_to from consumer_replaced');
  expect(rows).toEqual([{ marked_up_to: expect.any(String) }]);
  const late = [1, ORDERS - 1].map((n) => orderNumber(2 * n + 1)); // between those that are there
  await open().deliver(late.map((order) => orderEvent(order, 1, { occurred_at: second(5) })));
  expect(await count(`waits_for = 'gap' and order_id in ('${late.join("','")}')`)).toBe(2);
}, 120_000);

test('orders that somebody has locked stop no delivery; what was lost is marked afterwards', async () => {
  const order = newOrderId();
  await open().deliver([watermark(BEFORE_EVERYTHING, null), orderEvent(order, 1, { occurred_at: second(5) })]);
  const frozen = await knex.transaction();
  await frozen.raw('select from consumer_position where order_id = ? for update', [order]);
  const consumer = open();
  const raised = replacing(second(7), BEFORE_EVERYTHING, second(4));
  await consumer.deliver([raised]);
  expect(await consumer.deliver([orderEvent(newOrderId(), 1, { generation: 2 })])).toMatchObject({ applied: 1 });
  expect(await readWatermarks(knex)).toEqual([]);
  await frozen.rollback();
  await expect.poll(() => consumer.deliver([]).then(() => readWatermarks(knex)), { timeout: 30_000 }).toHaveLength(1);
  expect(await count(`waits_for = 'gap'`)).toBe(1);
}, 60_000);
