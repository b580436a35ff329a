// What is kept for a time only: keys for seven days, and never less than their order is open; odd answers for thirty.
import { randomUUID } from 'node:crypto';
import { openDatabase } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import { createLogger } from '@ballast/telemetry';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cleanOnce, keepClean } from '../src/workers/cleaner.ts';
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
  await cleanOnce(t.knex, 400);
  expect([await hasKey(old.order), await hasKey(young.order)]).toEqual([false, true]);
  expect(await t.order(old.order)).toMatchObject({ status: 'approved' });
});

test.each(['processing', 'in_doubt', 'reversing'])(
  'the key of an order that is %s stays, however old',
  async (status) => {
    const { order } = await t.pay();
    await t.knex.raw('update orders set status = ? where order_id = ?', [status, order]);
    await age(order, 30);
    await cleanOnce(t.knex, 400);
    expect(await hasKey(order)).toBe(true);
  },
);

test('a number that a void held and no payment took goes too', async () => {
  await t.cancel({ batch_number: '000009', trace_number: '000001' });
  await t.knex.raw("update payment_key set created_at = now() - interval '8 days' where order_id is null");
  await cleanOnce(t.knex, 400);
  expect((await t.knex.raw('select 1 from payment_key where order_id is null')).rows).toEqual([]);
});

test('a round reads what is old, not the whole table: also where rows of every age share every block', async () => {
  const rows = 30_000;
  await t.knex.raw(
    `insert into payment_key (merchant_id, key_hash, trace_hash, created_at)
     select ?, gen_random_uuid(), gen_random_uuid(), now() - case when n % 300 = 0 then interval '8 days' else interval '1 s' * n end
     from generate_series(1, ?) n`,
    [MERCHANT, rows],
  );
  await t.knex.raw('analyze payment_key');
  const table = "'payment_key'::regclass";
  const read = await t.knex.transaction(async (trx) => {
    const blocks = async () => {
      await trx.raw('select pg_stat_clear_snapshot()');
      const { rows: seen } = await trx.raw(
        `select pg_stat_get_xact_blocks_fetched(${table}) as fetched, pg_relation_size(${table}) / 8192 as size`,
      );
      return { fetched: Number(seen[0].fetched), size: Number(seen[0].size) };
    };
    const before = await blocks();
    await cleanOnce(trx, 400);
    const after = await blocks();
    return { fetched: after.fetched - before.fetched, size: after.size };
  });
  expect(read.size).toBeGreaterThan(300);
  // Two visits of each of the hundred old rows, and a few more.
  expect(read.fetched).toBeLessThan(read.size);
  await t.knex.raw('delete from payment_key where order_id is null');
});

test('a failure is alarmed', async () => {
  const raised: string[] = [];
  const broken = openDatabase({ url: 'postgres://127.0.0.1:9/none', applicationName: 'test', poolMax: 1 });
  const logger = createLogger({ service: 'test', level: 'silent' });
  const keeping = keepClean(
    { knex: broken, keptDays: 400, alarms: { raise: ({ name }) => raised.push(name) }, logger },
    10,
  );
  await waitFor('the alarm', () => raised.includes('cleaner_failed'));
  keeping.close();
  await broken.destroy();
});

test('cases that a person closed go after 400 days, open ones never', async () => {
  const insert = (closed: string | null) =>
    t.knex.raw(
      `insert into person_case (merchant_id, order_id, version, attempt_no, channel, reason, opened_at, closed_at, action)
       values (?, ?, 1, 1, 'bank_a', 'x', now() - interval '500 days', now() - ?::interval, ?)`,
      [MERCHANT, randomUUID(), closed, closed === null ? null : 'try_again'],
    );
  await insert('401 days');
  await insert('399 days');
  await insert(null);
  await cleanOnce(t.knex, 400);
  expect((await t.knex.raw('select 1 from person_case')).rows).toHaveLength(2);
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
  await cleanOnce(t.knex, 400);
  expect((await t.knex.raw('select 1 from odd_answer')).rows).toHaveLength(1);
});
