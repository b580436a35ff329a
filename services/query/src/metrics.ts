// What query measures.
import type { OrderEvent } from '@ballast/contracts';
import { type Knex, onTransaction } from '@ballast/database';
import { type Alarms, createMetrics, watchTransactions } from '@ballast/telemetry';
import type { ModelSchema } from './read-model/schemas.ts';

export type QueryMetrics = ReturnType<typeof createQueryMetrics>;

export function createQueryMetrics(alarms: Pick<Alarms, 'raise'>, now: () => number) {
  const metrics = createMetrics('query');
  const applied = metrics.counter('ballast_read_model_events_applied_total', 'Events applied to a read model.', [
    'model',
  ]);
  const lag = metrics.gauge(
    'ballast_read_model_lag_seconds',
    'Age of the last applied event when it was applied (database time).',
    ['model'],
  );
  watchTransactions(onTransaction, metrics, alarms);

  return {
    ...metrics,
    applied(model: ModelSchema, events: readonly OrderEvent[]): void {
      applied.inc({ model }, events.length);
      const last = events.at(-1);
      if (last !== undefined) lag.set({ model }, Math.max(0, now() - Date.parse(last.occurred_at)) / 1_000);
    },
    /** Rows and parked events are asked for when they are scraped. */
    watch(knex: Knex): void {
      metrics.gauge('ballast_read_model_orders', 'Orders in the read model, estimated.', [], async function () {
        this.set(await estimatedOrders(knex));
      });
      metrics.gauge('ballast_read_model_parked_events', 'Events that a person has to look at.', [], async function () {
        const { rows } = await knex.raw('select count(*)::int as count from consumer_parked');
        this.set(rows[0].count);
      });
    },
  };
}

/** From the statistics: counting a year of orders for each scrape would be a slow query. */
async function estimatedOrders(knex: Knex): Promise<number> {
  const { rows } = await knex.raw(
    `select coalesce(sum(greatest(c.reltuples, s.n_live_tup, 0)), 0)::float8 as count
     from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_stat_all_tables s on s.relid = c.oid
     where i.inhparent = to_regclass('merchant_order')`,
  );
  return rows[0].count;
}
