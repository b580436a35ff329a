// How old a request may be: keys are kept for a time, and what is older than they are cannot be told from what is new.
import { Problem } from '@ballast/contracts';

/** Keys are kept 7 days; a day less, so that no accepted request can outlive its key. */
const OLDEST_TRANSACTION_MS = 6 * 86_400_000;
const NEWEST_TRANSACTION_MS = 86_400_000;

/** The transaction time of a payment's request, or of a void: that of the payment it names. Null: it is accepted. */
export function tooOld(transactionTime: string, nowMs: number): Problem | null {
  const age = nowMs - Date.parse(transactionTime);
  if (age <= OLDEST_TRANSACTION_MS && age >= -NEWEST_TRANSACTION_MS) return null;
  return new Problem(
    'too_old',
    `The transaction time must lie within the last 6 days and not more than a day ahead of ${new Date(nowMs).toISOString()}.`,
    { errors: [{ pointer: '/transaction_time', detail: 'is outside what is accepted' }] },
  );
}
