// A token bucket by arithmetic (GCRA): one number. `full` is the time at which the bucket would be full again; a call may
// pass while that is no further away than the burst allows.
import { LEAST_FACTOR, type Meter, NO_SHARE_RETRY_MS, ROUNDING_MS } from './meter.ts';

export function createTokenBucket(perSecond: number, burst: number): Meter {
  let full = Number.NEGATIVE_INFINITY;

  function peek(now: number, factor: number): number {
    if (factor < LEAST_FACTOR) return -NO_SHARE_RETRY_MS;
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
      if (factor >= LEAST_FACTOR) full -= 1_000 / (perSecond * factor);
    },
    left: (now, factor) => {
      if (factor < LEAST_FACTOR) return 0;
      const interval = 1_000 / (perSecond * factor);
      const most = Math.max(1, burst * factor);
      return Math.max(0, Math.floor(most - Math.max(0, full - now) / interval + ROUNDING_MS));
    },
    isIdle: (now) => full <= now,
  };
}
