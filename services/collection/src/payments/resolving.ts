// How patiently doubt is resolved. A deployment may change it; tests do.

export interface Resolving {
  /** One call of a bank, and by how much the lease outlives it. */
  readonly callMs: number;
  readonly leaseMarginMs: number;
  /** Delay after a try that taught nothing; doubles up to the longest. */
  readonly firstDelayMs: number;
  readonly longestDelayMs: number;
  /** After approve_until nobody waits for an approval: this many inquiries in all, then the reversal. */
  readonly inquiriesBeforeReversal: number;
  /**
   * Reversals sent and not acknowledged; then it goes to a person. What was not sent does not count, whether we refused it
   * or no connection could be made: nobody has been asked yet, and it is tried until somebody is.
   */
  readonly reversalsBeforePerson: number;
  /** But when a reversal that cannot be sent has taught nothing for so long, it is listed with a person beside that. */
  readonly silenceBeforePersonMs: number;
  /** Bank calls at once, per channel and kind of work; payments have their own bulkhead. */
  readonly atOnce: number;
}

/** Longest delay: what waits when a bank comes back must be done well within a minute. 40 reversals: ten minutes of silence, as
 * long as a bank may be out of reach before a person hears of it. */
export const defaultResolving: Resolving = {
  callMs: 10_000,
  leaseMarginMs: 5_000,
  firstDelayMs: 1_000,
  longestDelayMs: 15_000,
  inquiriesBeforeReversal: 3,
  reversalsBeforePerson: 40,
  silenceBeforePersonMs: 600_000,
  atOnce: 32,
};

/** Doubles from the first delay to the longest, with jitter so that a bank that comes back is not met by all at once. */
export function delayAfter(tries: number, { firstDelayMs, longestDelayMs }: Resolving): number {
  const delay = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(Math.max(0, tries - 1), 16));
  return Math.round(delay * (0.5 + Math.random() / 2));
}
