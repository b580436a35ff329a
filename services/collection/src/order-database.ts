// The order database, checked, migrated and kept: its clock, its partitions, what is kept for a time only.
import { type DatabaseClock, type Knex, migrate, openDatabase, startDatabaseClock } from '@ballast/database';
import type { Alarms, Closing, Logger, Metrics } from '@ballast/telemetry';
import type { Config } from './config.ts';
import { checkDatabase } from './startup-checks.ts';
import { keepClean } from './workers/cleaner.ts';
import { registerDaysMetrics } from './workers/days-metrics.ts';
import { ensurePartitions, keepPartitions } from './workers/partitions.ts';

/** For look-ups and workers; the two commits have connections of their own. */
const POOL_MAX = 8;
/** The resolver's: it takes leases and puts back, a few ms each; its learnings go through the group commit. */
const RESOLVER_POOL_MAX = 4;

export async function openOrderDatabase(
  config: Config,
  logger: Logger,
  alarms: Pick<Alarms, 'raise'>,
  metrics: Metrics,
  closing: Closing,
): Promise<{ knex: Knex; resolverKnex: Knex; clock: DatabaseClock; partitions: ReturnType<typeof keepPartitions> }> {
  const options = { url: config.database_url, applicationName: 'collection', poolMax: POOL_MAX };
  const knex = closing.add(openDatabase(options), (pool) => pool.destroy());
  const resolverOptions = { ...options, applicationName: 'collection resolver', poolMax: RESOLVER_POOL_MAX };
  const resolverKnex = closing.add(openDatabase(resolverOptions), (pool) => pool.destroy());
  await checkDatabase(knex, config.single_machine === 'accepted');
  await migrate(knex, new URL('../migrations/', import.meta.url));
  const clock = closing.add(await startDatabaseClock(knex));
  await ensurePartitions(knex, clock.now());
  const { database_url: databaseUrl, kept_days: keptDays, refund_window_days: refundWindowDays } = config;
  const keeping = { knex, databaseUrl, keptDays, refundWindowDays, now: clock.now, alarms, logger };
  const partitions = closing.add(keepPartitions(keeping));
  closing.add(keepClean(keeping));
  registerDaysMetrics(metrics, { knex, partitions, now: clock.now });
  return { knex, resolverKnex, clock, partitions };
}
