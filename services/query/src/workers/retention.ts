// Nothing here grows without a bound: what is older than the retention goes, week by week, with the positions of its
// orders, and with revoked keys and old rebuilds.
import type { Knex } from '@ballast/database';
import type { Logger } from '@ballast/telemetry';
import { deleteKeysRevokedBefore } from '../keys/api-keys.sql.ts';
import type { Deliveries } from '../read-model/deliveries.ts';
import { lowestIdAt, WEEK_MS } from '../read-model/partitions.ts';
import { deleteRebuildsBefore } from '../read-model/rebuild.sql.ts';

const INTERVAL_MS = 3_600_000;
/** What is left of many orders to forget (the retention was shortened) is the next round's. */
const ROUND_LIMIT_MS = 600_000;

export interface RetentionOptions {
  readonly deliveries: Deliveries;
  readonly knex: Knex;
  readonly days: number;
  /** Database time, ms. */
  readonly now: () => number;
  readonly logger: Logger;
}

/** One round; resolves to the partitions dropped. One step that fails keeps no other from being done. */
export async function runRetention(options: RetentionOptions, signal: AbortSignal): Promise<string[]> {
  const { deliveries, knex, days, now, logger } = options;
  const failures: unknown[] = [];
  const attempt = <T>(step: Promise<T>) => step.catch((error: unknown) => void failures.push(error));
  const dropped = (await attempt(deliveries.partitions().dropExpired())) ?? [];
  if (dropped.length > 0) logger.info({ dropped }, 'retention: partitions dropped');
  // A week longer than the orders: a late event of a dropped order is still known as one that was applied.
  await attempt(deliveries.consumer.forgetOrdersBefore(lowestIdAt(now() - days * 86_400_000 - WEEK_MS), signal));
  await attempt(deleteKeysRevokedBefore(knex, days));
  await attempt(deleteRebuildsBefore(knex, days));
  if (failures.length > 0) throw new AggregateError(failures, `retention: ${failures.join('; ')}`);
  return dropped;
}

/** Now and every hour; a failure is logged and the next hour tries again. `close` waits for the step under way. */
export function keepRetention(options: RetentionOptions): { close(): Promise<void> } {
  const stop = new AbortController();
  let running: Promise<unknown> = Promise.resolve();
  const round = () => {
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(ROUND_LIMIT_MS)]);
    running = runRetention(options, signal).catch((error: unknown) =>
      options.logger.error({ err: error }, 'retention failed'),
    );
  };
  round();
  const timer = setInterval(round, INTERVAL_MS);
  timer.unref();
  return {
    close: async () => {
      clearInterval(timer);
      stop.abort();
      await running;
    },
  };
}
