// The days that the hot tables are cut into: made ahead, never emptied, and said to be old when they are.

import { openDatabase, uuidv7 } from '@ballast/database';
import { createLogger } from '@ballast/telemetry';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensurePartitions, KEPT_DAYS, partitionsOnce } from '../src/workers/partitions.ts';
import { openTestPayments, type TestPayments } from './support/open-payments.ts';

const DAY_MS = 86_400_000;
const logger = createLogger({ service: 'test', level: 'silent' });
let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'partitions' });
});
afterAll(() => t.close());

async function alarmsOf(nowMs: number, knex = t.knex): Promise<{ name: string; severity: string; message: string }[]> {
  const raised: { name: string; severity: string; message: string }[] = [];
  await partitionsOnce({ knex, now: () => nowMs, alarms: { raise: (alarm) => raised.push(alarm) }, logger });
  return raised;
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
  expect(await ensurePartitions(t.knex, t.core.clock.now())).toEqual([]);
  expect(await alarmsOf(t.core.clock.now())).toEqual([]);
});

test('days that are older than they are kept are said, with what is still open in them, and stay', async () => {
  const now = t.core.clock.now();
  const later = now + (KEPT_DAYS + 4) * DAY_MS;
  const old = { name: 'partitions_old', severity: 'notice', message: expect.stringMatching(/nothing in it is open/) };
  expect(await alarmsOf(later)).toMatchObject([old]);
  const { order } = await t.pay();
  // As if it had been paid on the oldest of the days.
  await t.knex.raw("update orders set order_id = ?, work = 'reverse' where order_id = ?", [
    uuidv7(now - 2 * DAY_MS),
    order,
  ]);
  const open = { ...old, severity: 'warning', message: expect.stringMatching(/1 of its orders are still open/) };
  expect(await alarmsOf(later)).toMatchObject([open]);
});

test('a day that cannot be made is alarmed', async () => {
  const broken = openDatabase({ url: 'postgres://127.0.0.1:9/none', applicationName: 'test', poolMax: 1 });
  expect(await alarmsOf(Date.now(), broken)).toMatchObject([{ name: 'partitions_missing', severity: 'critical' }]);
  await broken.destroy();
});
