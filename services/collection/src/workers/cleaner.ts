// Removes what is kept for a time only: keys after 7 days (never while their order is open), odd answers after 30 days or
// beyond a hundred thousand, cases of persons 400 days after they were closed. Several instances may run it: each deletes
// what it finds.
import type { Alarms, Logger } from '@ballast/telemetry';
import type { Knex } from 'knex';
import { deleteOldCases, deleteOldKeys, deleteOldOddAnswers } from './cleaner.sql.ts';
import { KEPT_DAYS } from './partitions.ts';

const DAY_MS = 86_400_000;
/** take-payment.ts refuses a transaction time older than this less a day. */
const KEYS_KEPT_MS = 7 * DAY_MS;
const ODD_ANSWERS_KEPT_MS = 30 * DAY_MS;
const ODD_ANSWERS_KEPT = 100_000;
/** As long as the orders they are about. */
const CLOSED_CASES_KEPT_MS = KEPT_DAYS * DAY_MS;
const INTERVAL_MS = 60_000;
/** One statement's worth: some 20 ms. */
const ROWS = 2_000;
/** Statements per round; 7 million payments a day are 5,000 keys a minute. */
const ROUNDS = 20;

/** One round: resolves to how many rows were removed. */
export async function cleanOnce(knex: Knex): Promise<number> {
  let removed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const keys = await deleteOldKeys(knex, KEYS_KEPT_MS, ROWS);
    const odd = await deleteOldOddAnswers(knex, ODD_ANSWERS_KEPT_MS, ODD_ANSWERS_KEPT, ROWS);
    const cases = await deleteOldCases(knex, CLOSED_CASES_KEPT_MS, ROWS);
    removed += keys + odd + cases;
    if (keys < ROWS && odd < ROWS && cases < ROWS) break;
  }
  return removed;
}

export interface Keeping {
  readonly knex: Knex;
  readonly alarms: Pick<Alarms, 'raise'>;
  readonly logger: Logger;
}

/** For ever, every minute. A failure is alarmed; the next round tries again. */
export function keepClean({ knex, alarms, logger }: Keeping, intervalMs = INTERVAL_MS): { close(): void } {
  const timer = setInterval(
    () =>
      void cleanOnce(knex).catch((error: unknown) => {
        logger.error({ err: error }, 'what is kept for a time only could not be removed');
        alarms.raise({
          name: 'cleaner_failed',
          severity: 'warning',
          subject: 'order database',
          message: 'old keys, odd answers or closed cases could not be removed; they grow until they can be',
        });
      }),
    intervalMs,
  );
  timer.unref();
  return { close: () => clearInterval(timer) };
}
