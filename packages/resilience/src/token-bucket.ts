// A token bucket by arithmetic (GCRA): one number, no timer, exact. `theoretical` is the time at which the bucket would
// be full again; a call may pass while that is no further away than the burst allows.

export interface TokenBucket {
  /** 0: taken. Otherwise the ms until a token is there; nothing is taken. */
  take(now: number): number;
  /** Gives one back (the call was refused later on and never left). */
  giveBack(): void;
  peek(now: number): number;
}

/** Sums of intervals are off by some 1e-12 ms each; without this a call on the very edge waits a whole interval more. */
const ROUNDING_MS = 1e-6;

export function createTokenBucket(perSecond: number, burst: number): TokenBucket {
  const interval = 1_000 / perSecond;
  const tolerance = interval * (burst - 1);
  let theoretical = Number.NEGATIVE_INFINITY;
  const wait = (now: number) => {
    const ms = theoretical - tolerance - now;
    return ms > ROUNDING_MS ? ms : 0;
  };
  return {
    peek: wait,
    take: (now) => {
      const ms = wait(now);
      if (ms === 0) theoretical = Math.max(theoretical, now) + interval;
      return ms;
    },
    giveBack: () => {
      theoretical -= interval;
    },
  };
}
