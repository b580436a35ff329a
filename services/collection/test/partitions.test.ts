// The days that the hot tables are cut into: made ahead, never emptied, and alarmed when one cannot be made or stays.
import { openDatabase } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import { createLogger } from '@ballast/telemetry';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dayOf, partitionOf } from '../src/workers/days.ts';
import { ensurePartitions, keepPartitions, type PartitionsState, partitionsOnce } from '../src/workers/partitions.ts';
import { openTestPayments, type TestPayments } from './support/open-payments.ts';

const DAY_MS = 86_400_000;
const logger = createLogger({ service: 'test', level: 'silent' });
let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'partitions' });
});
afterAll(() => t.close());

interface Round {
  readonly knex?: TestPayments['knex'];
  readonly databaseUrl?: string;
  readonly before?: PartitionsState;
}

async function roundAt(nowMs: number, { knex = t.knex, databaseUrl = t.databaseUrl, before }: Round = {}) {
  const raised: { name: string; severity: string; message: string }[] = [];
  const { held } = await partitionsOnce(
    {
      knex,
      databaseUrl,
      keptDays: 400,
      refundWindowDays: 180,
      now: () => nowMs,
      alarms: { raise: (alarm) => raised.push(alarm) },
      logger,
    },
    before,
  );
  return { raised, held };
}

test('the journal is not emptied, neither whole nor one of its days', async () => {
  const { order } = await t.pay();
  const { rows } = await t.knex.raw(
    "select inhrelid::regclass::text as day from pg_inherits where inhparent = 'order_event'::regclass",
  );
  for (const table of ['order_event', ...rows.map(({ day }: { day: string }) => day)])
    await expect(t.knex.raw('truncate ??', [table])).rejects.toMatchObject({ code: 'BL002' });
  expect(await t.events(order)).toEqual(['accepted', 'approved']);
});

test('all days around today are there, and a second look makes none', async () => {
  const now = t.core.clock.now();
  expect(await ensurePartitions(t.knex, now)).toEqual([]);
  expect(await roundAt(now)).toEqual({ raised: [], held: [] });
});

test('days that are older than they are kept and are not dropped are alarmed, with who holds them since when', async () => {
  const later = t.core.clock.now() + 399 * DAY_MS;
  const { raised, held } = await roundAt(later); // two days back, while nobody has said how far it has read
  expect(held).toMatchObject([{ by: [{ who: 'no reader' }] }]);
  const message = expect.stringMatching(/^1 days are older than 400 days; the oldest, \d{8}, .* is held by no reader/);
  expect(raised).toMatchObject([{ name: 'partitions_held', severity: 'warning', message }]);
});

test('what is held is still held while another instance looks at the days, and while nobody can', async () => {
  const later = t.core.clock.now() + 399 * DAY_MS;
  const before = await roundAt(later);
  expect(before.held).toHaveLength(1);
  const another = new pg.Client(t.databaseUrl);
  await another.connect();
  await another.query('select pg_advisory_lock(7301003)');
  expect(await roundAt(later, { before })).toEqual({ raised: [], held: before.held });
  await another.end();
  const away = await roundAt(later, { before, databaseUrl: 'postgres://127.0.0.1:9/none' });
  expect(away).toMatchObject({ raised: [{ name: 'partitions_not_dropped', severity: 'warning' }], held: before.held });
});

test('a day that cannot be made is alarmed', async () => {
  const broken = openDatabase({ url: 'postgres://127.0.0.1:9/none', applicationName: 'test', poolMax: 1 });
  const { raised } = await roundAt(Date.now(), { knex: broken });
  expect(raised).toMatchObject([{ name: 'partitions_missing', severity: 'critical' }]);
  await broken.destroy();
});

test('a round that is under way when the process ends ends at once, and alarms nobody', async () => {
  const now = t.core.clock.now();
  await t.knex.raw("insert into journal_reader (reader, has, covered_at) values ('s/q', pg_current_snapshot(), now())");
  const holder = await t.knex.transaction(); // the round waits for it
  await holder.raw('lock table orders in share update exclusive mode');
  const raised: object[] = [];
  const keeping = keepPartitions({
    knex: t.knex,
    databaseUrl: t.databaseUrl,
    keptDays: 400,
    refundWindowDays: 180,
    now: () => now + 399 * DAY_MS,
    alarms: { raise: (alarm) => raised.push(alarm) },
    logger,
  });
  await waitFor('the round to wait', async () => {
    const { rows } = await t.knex.raw(
      `select 1 from pg_stat_activity where application_name = 'collection days' and wait_event_type = 'Lock'`,
    );
    return rows.length > 0;
  });
  await keeping.close();
  await holder.rollback();
  expect(raised).toEqual([]);
});

test('a day that fails is alarmed by itself', async () => {
  const day = dayOf(t.core.clock.now() - 2 * DAY_MS);
  await t.knex.raw(
    "insert into journal_reader (reader, has, covered_at) values ('s/q', pg_current_snapshot(), now()) on conflict do nothing",
  );
  await t.knex.raw(`create view somebodys as select order_id from orders_${day}`);
  const { raised } = await roundAt(t.core.clock.now() + 399 * DAY_MS);
  const message = expect.stringContaining(`${day} could not be dropped: cannot drop `);
  expect(raised).toMatchObject([{ name: 'partitions_not_dropped', severity: 'warning', message }]);
});

test("a day of the same name in somebody's schema is not taken for ours", async () => {
  const soon = t.core.clock.now() + 30 * DAY_MS;
  const name = partitionOf('orders', dayOf(soon));
  await t.knex.raw('create schema somebody');
  await t.knex.raw('create table somebody.orders (order_id uuid) partition by range (order_id)');
  await t.knex.raw('create table somebody.?? partition of somebody.orders default', [name]);
  expect(await ensurePartitions(t.knex, soon)).toContain(name);
});
