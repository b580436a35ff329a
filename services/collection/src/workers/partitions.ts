// Day partitions of the hot tables, made ahead of time. A UUIDv7 begins with its time in milliseconds, so a day is a
// range of ids. Made detached and then attached: attaching takes only SHARE UPDATE EXCLUSIVE on the parent, so payments
// go on. There is no default partition: a missing one is an error that is seen.
import type { Knex } from 'knex';

const tables = ['orders', 'attempt', 'order_event'] as const;
const DAY_MS = 86_400_000;
const DAYS_BACK = 2;
const DAYS_AHEAD = 8;
const INTERVAL_MS = 3_600_000;
/** Any constant of our own: one instance makes partitions at a time. Not on the sharded path (design.md §6). */
const ADVISORY_LOCK = 7_301_001;

/** Makes every missing partition around `nowMs` (database time); resolves to the names made. */
export async function ensurePartitions(knex: Knex, nowMs: number): Promise<string[]> {
  const made: string[] = [];
  const today = Math.floor(nowMs / DAY_MS) * DAY_MS;
  for (let day = today - DAYS_BACK * DAY_MS; day <= today + DAYS_AHEAD * DAY_MS; day += DAY_MS) {
    for (const table of tables) {
      const name = `${table}_${new Date(day).toISOString().slice(0, 10).replaceAll('-', '')}`;
      if (await makePartition(knex, table, name, day)) made.push(name);
    }
  }
  return made;
}

async function makePartition(knex: Knex, table: string, name: string, day: number): Promise<boolean> {
  if (await isAttached(knex, name)) return false;
  return knex.transaction(async (trx) => {
    await trx.raw('select pg_advisory_xact_lock(?)', [ADVISORY_LOCK]);
    if (await isAttached(trx, name)) return false;
    await trx.raw('create table if not exists ?? (like ?? including defaults including constraints)', [name, table]);
    // Commit 2 updates the row that commit 1 wrote: leave room for it on the same page.
    if (table !== 'order_event') await trx.raw('alter table ?? set (fillfactor = 70)', [name]);
    await trx.raw(
      `alter table ?? attach partition ?? for values from ('${lowerBound(day)}') to ('${lowerBound(day + DAY_MS)}')`,
      [table, name],
    );
    return true;
  });
}

async function isAttached(knex: Knex, name: string): Promise<boolean> {
  const { rows } = await knex.raw(
    'select 1 from pg_class c join pg_inherits i on i.inhrelid = c.oid where c.relname = ? and c.relispartition',
    [name],
  );
  return rows.length > 0;
}

function lowerBound(dayMs: number): string {
  const hex = dayMs.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** For ever: now and every hour. `onError` is told of a failure; the next hour tries again (there are days in hand). */
export function keepPartitions(knex: Knex, now: () => number, onError: (error: unknown) => void): { close(): void } {
  const timer = setInterval(() => void ensurePartitions(knex, now()).catch(onError), INTERVAL_MS);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
