// Nothing here grows without a bound: what is older than the retention goes, week by week, with the positions of its
// orders, and with revoked keys and old rebuilds.
import type { Knex } from '@ballast/database';
import type { Logger } from '@ballast/telemetry';
import { deleteKeysRevokedBefore } from '../keys/api-keys.sql.ts';
import type { Deliveries } from '../read-model/deliveries.ts';
import { lowestIdAt, WEEK_MS } from '../read-model/partitions.ts';
import { deleteRebuildsBefore } from '../read-model/rebuild.sql.ts';

const INTERVAL_MS = 3_600_000;

export interface RetentionOptions {
  readonly deliveries: Deliveries;
  readonly knex: Knex;
  readonly days: number;
  /** Database time, ms. */
  readonly now: () => number;
  readonly logger: Logger;
}

/** One round; resolves to the partitions dropped. */
export async function runRetention({ deliveries, knex, days, now, logger }: RetentionOptions): Promise<string[]> {
  const dropped = await deliveries.partitions().dropExpired();
  if (dropped.length > 0) logger.info({ dropped }, 'retention: partitions dropped');
  // A week longer than the orders: a late event of a dropped order is still known as one that was applied.
  await deliveries.consumer.forgetOrdersBefore(lowestIdAt(now() - days * 86_400_000 - WEEK_MS));
  await deleteKeysRevokedBefore(knex, days);
  await deleteRebuildsBefore(knex, days);
  return dropped;
}

/** Now and every hour; a failure is logged and the next hour tries again. */
export function keepRetention(options: RetentionOptions): { close(): void } {
  const round = () =>
    void runRetention(options).catch((error: unknown) => options.logger.error({ err: error }, 'retention failed'));
  round();
  const timer = setInterval(round, INTERVAL_MS);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
