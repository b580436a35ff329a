// Retention, however much there is to forget: a day of failures, or a retention that was shortened.
import { type Knex, openDatabase } from '@ballast/database';
import { freshDatabase, type TestDatabase } from '@ballast/database/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { migrateConsumer, openConsumer } from '../src/index.ts';
import { merchantId } from './support/events.ts';

const ORDERS = 500_000;
const KEPT = 100;
let database: TestDatabase;
let knex: Knex;
let hurried: Knex;

beforeEach(async () => {
  database = await freshDatabase('forget_orders');
  const { url } = database;
  const patient = { statementTimeoutMs: 60_000, transactionTimeoutMs: 60_000 };
  knex = openDatabase({ url, applicationName: 'forget test', poolMax: 2, ...patient });
  hurried = openDatabase({ url, applicationName: 'forget test', poolMax: 2, statementTimeoutMs: 300 });
  await migrateConsumer(knex);
  await knex.raw(
    `insert into consumer_position (order_id, source, merchant_id, generation, version)
     select ('00000000-' || lpad(to_hex(n / 65536), 4, '0') || '-' || lpad(to_hex(n % 65536), 4, '0') || '-8000-000000000000')::uuid,
       'collection', ?, 1, 1
     from generate_series(0, ?::int) as n`,
    [merchantId, ORDERS + KEPT - 1],
  );
});
afterEach(async () => {
  await knex.destroy();
  await hurried.destroy();
  await database.drop();
});

const left = async () => (await knex.raw('select count(*)::int as count from consumer_position')).rows[0].count;
const firstKept = `00000000-${Math.floor(ORDERS / 65_536)
  .toString(16)
  .padStart(4, '0')}-${(ORDERS % 65_536).toString(16).padStart(4, '0')}-8000-000000000000`;

test('more orders than one statement gets through are forgotten all the same, and not one more', async () => {
  const logger = { warn: () => undefined, error: () => undefined };
  const consumer = openConsumer({ name: 'test', knex: hurried, logger, apply: async () => undefined });
  expect(await consumer.forgetOrdersBefore(firstKept, AbortSignal.abort())).toBe(0);
  expect(await consumer.forgetOrdersBefore(firstKept, new AbortController().signal)).toBe(ORDERS);
  expect(await left()).toBe(KEPT);
}, 120_000);
