// Nothing grows without a bound: weeks past the retention go whole, and their orders' events no longer have an effect.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runRetention } from '../src/workers/retention.ts';
import { approvedOrder, merchantA } from './support/events.ts';
import { startQuery, type TestQuery } from './support/query.ts';

const DAY_MS = 86_400_000;
const start = Date.parse('2026-03-02T12:00:00Z');
let today = start;
let query: TestQuery;
let key: string;

beforeAll(async () => {
  query = await startQuery('retention', { retentionDays: 30, now: () => today });
  key = (await query.issueKey(merchantA)).api_key;
});
afterAll(() => query.stop());

const made = (ms: number, n: number) => {
  const hex = ms.toString(16).padStart(12, '0');
  return approvedOrder({ at: ms, orderId: `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-00000000000${n}` });
};
const retain = () => {
  const { deliveries, knex, logger } = query;
  return runRetention({ deliveries, knex, days: 30, now: () => today, logger }, new AbortController().signal);
};
const partitions = async () => {
  const { rows } = await query.knex.raw(
    `select count(*)::int as count from pg_inherits where inhparent = to_regclass('merchant_order')`,
  );
  return rows[0].count;
};

test('old weeks are dropped, young ones stay, and a late event of a dropped order changes nothing', async () => {
  const old = made(start, 1);
  await query.deliver(old);
  today = start + 35 * DAY_MS;
  const young = made(today, 2);
  await query.deliver(young);
  expect(await partitions()).toBe(2);

  today = start + 45 * DAY_MS;
  expect(await retain()).toHaveLength(2); // a week of rows, and a week of stories
  expect(await partitions()).toBe(1);
  expect((await query.get(`/v1/orders/ord_${old[0].order_id}`, key)).status).toBe(404);
  expect((await query.get(`/v1/orders/ord_${young[0].order_id}`, key)).status).toBe(200);

  expect(await query.deliver(old)).toMatchObject({ parked: 0, gaps: [] });
  expect(await partitions()).toBe(1);
  expect(await retain()).toEqual([]);
  const { rows } = await query.knex.raw('select order_id from consumer_position');
  expect(rows).toEqual([{ order_id: young[0].order_id }]);
});

test('an order that waits for an event is forgotten with its day: nothing will ever fill its gap', async () => {
  const [, early] = made(start + 10 * DAY_MS, 4);
  expect(await query.deliver([early])).toMatchObject({ held: 1, gaps: [{ order_id: early.order_id }] });
  expect((await query.deliver([early])).gaps).toHaveLength(1);
  today = start + 60 * DAY_MS;
  await retain();
  expect((await query.deliver(made(today, 5))).gaps).toEqual([]);
  const { rows } = await query.knex.raw(
    `select order_id from consumer_held union all select order_id from consumer_position where waits_for is not null`,
  );
  expect(rows).toEqual([]);
});

test('a week that cannot be dropped now keeps no position from being forgotten', async () => {
  const old = made(today, 6);
  await query.deliver(old);
  today += 60 * DAY_MS;
  const reader = await query.readers.transaction();
  await reader.raw('select from merchant_order');
  await expect(retain()).rejects.toThrow('lock timeout');
  await reader.rollback();
  const { rows } = await query.knex.raw('select order_id from consumer_position where order_id = ?', [old[0].order_id]);
  expect(rows).toEqual([]);
  expect(await retain()).not.toEqual([]);
});

test('an id from the far future is nobody’s order: parked, seen, and no partition is made for it', async () => {
  const before = await partitions();
  const strange = made(today + 400 * DAY_MS, 3);
  expect(await query.deliver(strange)).toMatchObject({ applied: 0, parked: 1 });
  expect(await partitions()).toBe(before);
  const { body } = await query.admin('GET', '/admin/parked');
  expect(body.data).toEqual([expect.objectContaining({ order_id: `ord_${strange[0].order_id}`, version: 1 })]);
});
