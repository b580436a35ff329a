// What every limiter is underneath: arithmetic over the times of calls, no timer, nothing to clean up. `factor` is the
// part of the rules' numbers that holds now: this process's share of the cluster, and the warm-up.

export interface Meter {
  /**
   * 0 or more: taken; the call's turn is in so many ms, at most `patienceMs`. Less than 0: refused, nothing is taken; it is
   * worth asking again in that many ms.
   */
  take(now: number, factor: number, patienceMs: number): number;
  /** The same answer without taking anything. */
  peek(now: number, factor: number, patienceMs: number): number;
  /** Gives one back: the call was refused later on and never left. */
  giveBack(factor: number): void;
  /** How many calls could be taken at once, now. */
  left(now: number, factor: number): number;
  /** It remembers nothing any more: a new one would answer the same. */
  isIdle(now: number): boolean;
}

/** Sums of intervals are off by some 1e-12 ms each; without this a call on the very edge waits a whole interval more. */
export const ROUNDING_MS = 1e-6;

/** A smaller part of a limit is none: intervals stay finite. */
export const LEAST_FACTOR = 1e-6;

/** With no share of the cluster at all, when to look again whether one has come. */
export const NO_SHARE_RETRY_MS = 1_000;
