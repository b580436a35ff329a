// The baseline is only worth something while it writes what a payment writes: the same checker judges its rows.
import { readdirSync, readFileSync } from 'node:fs';
import { freshDatabase } from '@ballast/database/testing';
import pg from 'pg';
import { expect, test } from 'vitest';
import { findPgbench, runPgbench } from '../baseline/pgbench.ts';
import { runPlainPg } from '../baseline/plain-pg.ts';
import { check } from '../checker/check.ts';

const migrations = new URL('../../services/collection/migrations/', import.meta.url);
const CLIENTS = 2;

async function emptyOrders() {
  const database = await freshDatabase('baseline');
  const client = new pg.Client(database.url);
  await client.connect();
  for (const file of readdirSync(migrations).sort())
    if (file.endsWith('.sql')) await client.query(readFileSync(new URL(file, migrations), 'utf8'));
  for (const table of ['orders', 'attempt', 'order_event'])
    await client.query(`create table ${table}_all partition of ${table} for values from (minvalue) to (maxvalue)`);
  await client.end();
  return database;
}

const inputs = (orders: string) => ({ orders, books: [], histories: [], logs: [], quiet: false });

test('plain pg: each payment is an order with its key, an attempt and two events that fold to it', async () => {
  const database = await emptyOrders();
  expect(await runPlainPg(database.url, CLIENTS, 0.3)).toBeGreaterThan(0);
  const { results } = await check(inputs(database.url));
  expect(results.flatMap(({ id, violations }) => violations.map((text) => `${id} ${text}`))).toEqual([]);
  expect(results.find(({ id }) => id === 'I-20')?.evaluated).toBeGreaterThan(1);
  await database.drop();
});

test.skipIf(findPgbench() === undefined)('pgbench: the same', async () => {
  const database = await emptyOrders();
  expect(await runPgbench(findPgbench() ?? '', database.url, CLIENTS, 1)).toBeGreaterThan(0);
  const { results } = await check(inputs(database.url));
  expect(results.flatMap(({ id, violations }) => violations.map((text) => `${id} ${text}`))).toEqual([]);
  await database.drop();
});
