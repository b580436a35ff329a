// Removes what is kept for a time only: keys after 7 days (never while their order is open), odd answers after 30 days or
// beyond a hundred thousand. Several instances may run it: each deletes what it finds.
import type { Knex } from 'knex';
import { deleteOldKeys, deleteOldOddAnswers } from './cleaner.sql.ts';

const DAY_MS = 86_400_000;
/** take-payment.ts refuses a transaction time older than this less a day. */
const KEYS_KEPT_MS = 7 * DAY_MS;
const ODD_ANSWERS_KEPT_MS = 30 * DAY_MS;
const ODD_ANSWERS_KEPT = 100_000;
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
    removed += keys + odd;
    if (keys < ROWS && odd < ROWS) break;
  }
  return removed;
}

/** For ever, every minute. `onError` is told of a failure; the next round tries again. */
export function keepClean(knex: Knex, onError: (error: unknown) => void): { close(): void } {
  const timer = setInterval(() => void cleanOnce(knex).catch(onError), INTERVAL_MS);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
