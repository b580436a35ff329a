// The order database, checked, migrated and kept: its clock, its partitions, its old keys.
import { type DatabaseClock, type Knex, migrate, openDatabase, startDatabaseClock } from '@ballast/database';
import type { Closing, Logger } from '@ballast/telemetry';
import type { Config } from './config.ts';
import { checkDatabase } from './startup-checks.ts';
import { keepClean } from './workers/cleaner.ts';
import { ensurePartitions, keepPartitions } from './workers/partitions.ts';

/** For look-ups, the resolver and workers; the two commits have connections of their own. */
const POOL_MAX = 8;

export async function openOrderDatabase(
  config: Config,
  logger: Logger,
  closing: Closing,
): Promise<{ knex: Knex; clock: DatabaseClock }> {
  const options = { url: config.database_url, applicationName: 'collection', poolMax: POOL_MAX };
  const knex = closing.add(openDatabase(options), (pool) => pool.destroy());
  await checkDatabase(knex, config.single_machine === 'accepted');
  await migrate(knex, new URL('../migrations/', import.meta.url));
  const clock = closing.add(await startDatabaseClock(knex));
  await ensurePartitions(knex, clock.now());
  const failed = (what: string) => (error: unknown) => logger.error({ err: error }, what);
  closing.add(keepPartitions(knex, clock.now, failed('partitions could not be made')));
  closing.add(keepClean(knex, failed('old keys could not be removed')));
  return { knex, clock };
}
