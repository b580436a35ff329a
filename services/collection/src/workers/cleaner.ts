// Removes what is kept for a time only: keys after 7 days (never while their order is open), odd answers after 30 days or
// beyond a hundred thousand, cases of persons as long after they were closed as orders are kept. Several instances may run
// it: each deletes what it finds.
import type { Alarms, Logger } from '@ballast/telemetry';
import type { Knex } from 'knex';
import { deleteOldCases, deleteOldKeys, deleteOldOddAnswers } from './cleaner.sql.ts';
import { DAY_MS } from './days.ts';

/** take-payment.ts refuses a transaction time older than this less a day. */
const KEYS_KEPT_MS = 7 * DAY_MS;
const ODD_ANSWERS_KEPT_MS = 30 * DAY_MS;
const ODD_ANSWERS_KEPT = 100_000;
const INTERVAL_MS = 60_000;
/** One statement's worth: some 20 ms. */
const ROWS = 2_000;
/** Statements per round; 7 million payments a day are 5,000 keys a minute. */
const ROUNDS = 20;

/** One round: resolves to how many rows were removed. `keptDays`: how long orders are kept, and the cases about them. */
export async function cleanOnce(knex: Knex, keptDays: number): Promise<number> {
  let removed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const keys = await deleteOldKeys(knex, KEYS_KEPT_MS, ROWS);
    const odd = await deleteOldOddAnswers(knex, ODD_ANSWERS_KEPT_MS, ODD_ANSWERS_KEPT, ROWS);
    const cases = await deleteOldCases(knex, keptDays * DAY_MS, ROWS);
    removed += keys + odd + cases;
    if (keys < ROWS && odd < ROWS && cases < ROWS) break;
  }
  return removed;
}

interface Keeping {
  readonly knex: Knex;
  readonly keptDays: number;
  readonly alarms: Pick<Alarms, 'raise'>;
  readonly logger: Logger;
}

/** For ever, every minute. A failure is alarmed; the next round tries again. */
export function keepClean({ knex, keptDays, alarms, logger }: Keeping, intervalMs = INTERVAL_MS): { close(): void } {
  const timer = setInterval(
    () =>
      void cleanOnce(knex, keptDays).catch((error: unknown) => {
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
