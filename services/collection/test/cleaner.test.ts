// What is kept for a time only: keys for seven days, and never less than their order is open; odd answers for thirty.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cleanOnce } from '../src/workers/cleaner.ts';
import { MERCHANT, openTestPayments, type TestPayments } from './support/open-payments.ts';

let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'cleaner' });
});
afterAll(() => t.close());

const age = (order: string, days: number) =>
  t.knex.raw("update payment_key set created_at = created_at - ? * interval '1 day' where order_id = ?", [days, order]);
const hasKey = async (order: string) =>
  (await t.knex.raw('select 1 from payment_key where order_id = ?', [order])).rows.length === 1;

test('a key goes after seven days, and its order stays', async () => {
  const [old, young] = [await t.pay(), await t.pay()];
  await age(old.order, 7.01);
  await age(young.order, 6.99);
  await cleanOnce(t.knex);
  expect([await hasKey(old.order), await hasKey(young.order)]).toEqual([false, true]);
  expect(await t.order(old.order)).toMatchObject({ status: 'approved' });
});

test.each(['processing', 'in_doubt', 'reversing'])(
  'the key of an order that is %s stays, however old',
  async (status) => {
    const { order } = await t.pay();
    await t.knex.raw('update orders set status = ? where order_id = ?', [status, order]);
    await age(order, 30);
    await cleanOnce(t.knex);
    expect(await hasKey(order)).toBe(true);
  },
);

test('a number that a void held and no payment took goes too', async () => {
  await t.cancel({ batch_number: '000009', trace_number: '000001' });
  await t.knex.raw("update payment_key set created_at = now() - interval '8 days' where order_id is null");
  await cleanOnce(t.knex);
  expect((await t.knex.raw('select 1 from payment_key where order_id is null')).rows).toEqual([]);
});

test('odd answers go after thirty days', async () => {
  const insert = (days: number) =>
    t.knex.raw(
      `insert into odd_answer (merchant_id, odd_id, order_id, attempt_no, channel, operation, kind, effect, bank_reference,
         received_at) values (?, ?, ?, 1, 'bank_a', 'pay', 'late_approved', 'none', '', now() - ? * interval '1 day')`,
      [MERCHANT, randomUUID(), randomUUID(), days],
    );
  await insert(31);
  await insert(29);
  await cleanOnce(t.knex);
  expect((await t.knex.raw('select 1 from odd_answer')).rows).toHaveLength(1);
});
