// Day partitions of the hot tables: made ahead of time, and dropped when nobody needs them any more (expire-days.ts). Made
// detached and then attached: attaching takes only SHARE UPDATE EXCLUSIVE on the parent, so payments go on. There is no
// default partition: a missing one is an error that is seen, and alarmed days before it is missed.
import type { Alarms, Logger } from '@ballast/telemetry';
import type { Knex } from 'knex';
import { boundsOf, DAY_MS, type DayTable, dayOf, dayTables, partitionOf } from './days.ts';
import { expireDays, FAILED, type HeldDay } from './expire-days.ts';

const DAYS_BACK = 2;
const DAYS_AHEAD = 8;
const INTERVAL_MS = 3_600_000;
/** Any constant of our own: one instance makes partitions at a time. Not where orders are distributed over machines. */
const ADVISORY_LOCK = 7_301_001;

export interface PartitionsOptions {
  readonly knex: Knex;
  readonly databaseUrl: string;
  readonly keptDays: number;
  readonly refundWindowDays: number;
  /** Database time, ms. */
  readonly now: () => number;
  readonly alarms: Pick<Alarms, 'raise'>;
  readonly logger: Logger;
  /** Ends a round where it stands; the next process goes on. */
  readonly signal?: AbortSignal;
}

/** Makes every missing partition around `nowMs` (database time); resolves to the names made. */
export async function ensurePartitions(knex: Knex, nowMs: number): Promise<string[]> {
  const made: string[] = [];
  for (let ahead = -DAYS_BACK; ahead <= DAYS_AHEAD; ahead++) {
    const day = dayOf(nowMs + ahead * DAY_MS);
    for (const table of dayTables) if (await makePartition(knex, table, day)) made.push(partitionOf(table, day));
  }
  return made;
}

async function makePartition(knex: Knex, table: DayTable, day: string): Promise<boolean> {
  const name = partitionOf(table, day);
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
    await trx.raw(`alter table ?? attach partition ?? for values ${boundsOf(day)}`, [table, name]);
    return true;
  });
}

async function isAttached(knex: Knex, name: string): Promise<boolean> {
  const { rows } = await knex.raw(
    'select 1 from pg_class c join pg_inherits i on i.inhrelid = c.oid where c.oid = to_regclass(?) and c.relispartition',
    [name],
  );
  return rows.length > 0;
}

/** What the last round found; for metrics. */
export interface PartitionsState {
  /** Days that are older than they are kept, and who holds each. */
  readonly held: readonly HeldDay[];
}

const NOTHING_HELD: PartitionsState = { held: [] };

/**
 * Makes what is missing and drops what nobody needs; a failure is alarmed, and the next hour tries again. `before`: what the
 * last round found, which stands when this one finds nothing out: another instance is at it, or the database is away.
 */
export async function partitionsOnce(
  options: PartitionsOptions,
  before: PartitionsState = NOTHING_HELD,
): Promise<PartitionsState> {
  const { knex, now, alarms, logger, signal } = options;
  const alarm = { subject: 'order database' };
  try {
    await ensurePartitions(knex, now());
  } catch (error) {
    logger.error({ err: error }, 'partitions could not be made');
    const message = `partitions could not be made; without one, payments stop ${DAYS_AHEAD} days after the last was`;
    alarms.raise({ ...alarm, name: 'partitions_missing', severity: 'critical', message });
  }
  try {
    const round = await expireDays(options);
    if (round === undefined) return before;
    if (round.dropped.length > 0)
      logger.info({ dropped: round.dropped }, 'days that nobody needs any more were dropped');
    alarmHeld(round.held, options);
    return { held: round.held };
  } catch (error) {
    if (signal?.aborted) return before;
    logger.error({ err: error }, 'old days could not be dropped');
    const message = 'old days could not be looked at now; the next hour tries again';
    alarms.raise({ ...alarm, name: 'partitions_not_dropped', severity: 'warning', message });
    return before;
  }
}

function alarmHeld(held: readonly HeldDay[], { alarms, keptDays }: PartitionsOptions): void {
  const alarm = { subject: 'order database', severity: 'warning' } as const;
  const failed = held.find(({ by }) => by.some(({ who }) => who === FAILED));
  if (failed !== undefined) {
    const message = `${failed.day} could not be dropped: ${failed.by.map(({ why }) => why).join(', ')}`;
    alarms.raise({ ...alarm, name: 'partitions_not_dropped', message });
  }
  const waiting = held.filter((day) => day !== failed);
  const [oldest] = waiting;
  if (oldest === undefined) return;
  const numbers = { days: waiting.length, oldest_day: Number(oldest.day) };
  alarms.raise({ ...alarm, name: 'partitions_held', message: sayHeld(waiting.length, oldest, keptDays), numbers });
}

function sayHeld(days: number, oldest: HeldDay, keptDays: number): string {
  const by = oldest.by.map(({ who, why }) => `${who} (${why})`).join(', ');
  return `${days} days are older than ${keptDays} days; the oldest, ${oldest.day}, could have gone on ${oldest.due} and is held by ${by}`;
}

/** For ever: now and every hour. `close` waits for the round under way, which ends at once. */
export function keepPartitions(options: Omit<PartitionsOptions, 'signal'>) {
  const closing = new AbortController();
  let state = NOTHING_HELD;
  let running: Promise<void> = Promise.resolve();
  const round = async () => {
    state = await partitionsOnce({ ...options, signal: closing.signal }, state);
  };
  const next = () => {
    running = running.then(round);
  };
  next();
  const timer = setInterval(next, INTERVAL_MS);
  timer.unref();
  return {
    state: () => state,
    close: async (): Promise<void> => {
      clearInterval(timer);
      closing.abort();
      await running;
    },
  };
}
