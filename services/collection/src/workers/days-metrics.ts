// What a scrape shows of the days that the hot tables are cut into.
import type { Metrics } from '@ballast/telemetry';
import type { Knex } from 'knex';
import { DAY_MS, dayOf, dayTables, startOf } from './days.ts';
import type { PartitionsState } from './partitions.ts';

export interface DaysMetrics {
  readonly knex: Knex;
  readonly partitions: { state(): PartitionsState };
  /** Database time, ms. */
  readonly now: () => number;
}

export function registerDaysMetrics(metrics: Metrics, { knex, partitions, now }: DaysMetrics): void {
  metrics.gauge('ballast_days_ahead', 'Days after today whose partitions are all there.', [], async function () {
    const whole = await wholeDays(knex);
    let ahead = 0;
    while (whole.has(dayOf(now() + (ahead + 1) * DAY_MS))) ahead++;
    this.set(ahead);
  });
  metrics.gauge(
    'ballast_days_oldest_seconds',
    'How long ago the oldest day began that is kept.',
    [],
    async function () {
      const [oldest] = [...(await wholeDays(knex))].sort();
      this.set(oldest === undefined ? 0 : (now() - startOf(oldest)) / 1_000);
    },
  );
  metrics.gauge('ballast_days_held', 'Days that are older than they are kept, by who holds them.', ['by'], function () {
    this.reset();
    for (const { by } of partitions.state().held) for (const { who } of by) this.inc({ by: who });
  });
}

/** Days that all three tables have. From the catalog: some 1,200 rows. */
async function wholeDays(knex: Knex): Promise<Set<string>> {
  const { rows } = await knex.raw(
    `select right(c.relname, 8) as day from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = any(?::regclass[]) and not i.inhdetachpending
     group by 1 having count(*) = ?`,
    [[...dayTables], dayTables.length],
  );
  return new Set(rows.map(({ day }: { day: string }) => day));
}
