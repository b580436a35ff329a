// Day partitions of the hot tables, made ahead of time. A UUIDv7 begins with its time in milliseconds, so a day is a
// range of ids. Made detached and then attached: attaching takes only SHARE UPDATE EXCLUSIVE on the parent, so payments
// go on. There is no default partition: a missing one is an error that is seen, and alarmed days before it is missed.
//
// None is dropped here. That would take the word of every subscriber that it is past the last event, and collection knows
// none of them: it says which are old enough, and whether something in them is still open (docs/runbooks/processes.md).
import type { Knex } from 'knex';
import type { Keeping } from './cleaner.ts';

const tables = ['orders', 'attempt', 'order_event'] as const;
const DAY_MS = 86_400_000;
const DAYS_BACK = 2;
const DAYS_AHEAD = 8;
/** How long orders and their journal are kept; longer than any refund is possible. */
export const KEPT_DAYS = 400;
const INTERVAL_MS = 3_600_000;
/** Any constant of our own: one instance makes partitions at a time. Not on the sharded path (design.md §6). */
const ADVISORY_LOCK = 7_301_001;

/** Makes every missing partition around `nowMs` (database time); resolves to the names made. */
export async function ensurePartitions(knex: Knex, nowMs: number): Promise<string[]> {
  const made: string[] = [];
  const today = Math.floor(nowMs / DAY_MS) * DAY_MS;
  for (let day = today - DAYS_BACK * DAY_MS; day <= today + DAYS_AHEAD * DAY_MS; day += DAY_MS) {
    for (const table of tables) {
      const name = `${table}_${dayOf(day)}`;
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
    else
      await trx.raw('create trigger ?? before truncate on ?? for each statement execute function refuse_change()', [
        `${name}_no_truncate`,
        name,
      ]);
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

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10).replaceAll('-', '');
}

function lowerBound(dayMs: number): string {
  const hex = dayMs.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

interface OldPartitions {
  readonly days: number;
  /** The oldest, as in the partitions' names: YYYYMMDD. */
  readonly oldest: string;
  /** Orders of the oldest that wait for a bank or a person; what is open must not be dropped. */
  readonly open: number;
}

/** What is kept for longer than it has to be. Null: nothing. Indexes orders_work and person_case_open. */
async function oldPartitions(knex: Knex, nowMs: number): Promise<OldPartitions | null> {
  const before = `orders_${dayOf(nowMs - KEPT_DAYS * DAY_MS)}`;
  const { rows } = await knex.raw(
    `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = 'orders'::regclass and c.relname < ? order by c.relname`,
    [before],
  );
  const name = rows[0]?.name;
  if (name === undefined) return null;
  const { rows: open } = await knex.raw(
    `select (select count(*) from ?? where work is not null)
       + (select count(*) from person_case c join ?? o on o.merchant_id = c.merchant_id and o.order_id = c.order_id
          where c.closed_at is null) as orders`,
    [name, name],
  );
  return { days: rows.length, oldest: name.slice('orders_'.length), open: Number(open[0].orders) };
}

/** Makes what is missing, and says what is old; a failure is alarmed, and the next hour tries again. */
export async function partitionsOnce({ knex, now, alarms, logger }: Keeping & { now: () => number }): Promise<void> {
  const alarm = { subject: 'order database' };
  try {
    await ensurePartitions(knex, now());
    const old = await oldPartitions(knex, now());
    if (old === null) return;
    const { days, oldest, open } = old;
    const message =
      open === 0
        ? `${days} days are older than ${KEPT_DAYS} days, the oldest is ${oldest}; nothing in it is open`
        : `${days} days are older than ${KEPT_DAYS} days, the oldest is ${oldest}; ${open} of its orders are still open`;
    const severity = open === 0 ? 'notice' : 'warning';
    alarms.raise({ ...alarm, name: 'partitions_old', severity, message, numbers: { days, open } });
  } catch (error) {
    logger.error({ err: error }, 'partitions could not be made');
    const message = `partitions could not be made; without one, payments stop ${DAYS_AHEAD} days after the last was`;
    alarms.raise({ ...alarm, name: 'partitions_missing', severity: 'critical', message });
  }
}

/** For ever, every hour. */
export function keepPartitions(keeping: Keeping & { now: () => number }): { close(): void } {
  const timer = setInterval(() => void partitionsOnce(keeping), INTERVAL_MS);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
