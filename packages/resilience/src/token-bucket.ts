// A token bucket by arithmetic (GCRA): one number. `full` is the time at which the bucket would be full again; a call may
// pass while that is no further away than the burst allows.
import { type Meter, NO_SHARE_RETRY_MS, ROUNDING_MS } from './meter.ts';

export interface TokenBucket extends Meter {
  /** Gives one back: the call was refused later on and never left. */
  giveBack(factor: number): void;
  /** Full again: it remembers nothing. */
  isFull(now: number): boolean;
}

export function createTokenBucket(perSecond: number, burst: number): TokenBucket {
  let full = Number.NEGATIVE_INFINITY;

  function peek(now: number, factor: number): number {
    if (factor <= 0) return -NO_SHARE_RETRY_MS;
    const interval = 1_000 / (perSecond * factor);
    const wait = full - now - interval * (Math.max(1, burst * factor) - 1);
    return wait > ROUNDING_MS ? -wait : 0;
  }

  return {
    peek,
    take: (now, factor) => {
      const wait = peek(now, factor);
      if (wait === 0) full = Math.max(full, now) + 1_000 / (perSecond * factor);
      return wait;
    },
    giveBack: (factor) => {
      if (factor > 0) full -= 1_000 / (perSecond * factor);
    },
    isFull: (now) => full <= now,
  };
}
