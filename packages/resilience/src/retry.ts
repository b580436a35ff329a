// Retries: three at most, with full jitter, paid from a budget that all operations of a channel share. What may be
// retried is declared per operation by the adapter, never guessed here.
import type { RetryRules } from './rules.ts';

export type RetrySafety =
  /** One try, whatever happens. */
  | 'never'
  /** Only what provably never left (a charge). */
  | 'not_sent'
  /** Repeating it has no second effect (an inquiry, a reversal under the same reference). */
  | 'always';

export interface RetryBudget {
  /** Each first try pays in. */
  deposit(rules: RetryRules): void;
  /** Each retry takes 1; false: the budget is used up, no retry. */
  take(): boolean;
  /** The retry was refused by us: it never left. */
  giveBack(): void;
  readonly tokens: number;
}

/** One per channel. Begins with what the first deposit's rules allow it to hold. */
export function createRetryBudget(): RetryBudget {
  let tokens: number | null = null;
  return {
    get tokens() {
      return tokens ?? 0;
    },
    deposit: ({ budgetShare, budgetReserve }) => {
      tokens = Math.min(budgetReserve, (tokens ?? budgetReserve) + budgetShare);
    },
    take: () => {
      if (tokens === null || tokens < 1) return false;
      tokens--;
      return true;
    },
    giveBack: () => {
      if (tokens !== null) tokens++;
    },
  };
}

/** Full jitter: a random time up to base x 2^(retry - 1), so that those who failed together do not come back together. */
export function pauseBeforeRetry(rules: RetryRules, retry: number, random: () => number): number {
  return random() * Math.min(rules.longestMs, rules.baseMs * 2 ** (retry - 1));
}
