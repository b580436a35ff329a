// A leaky bucket as a queue without a queue: each call reserves the next turn, and turns are evenly spaced. A call that
// would have to wait behind too many others, or longer than it can, reserves nothing.
import { LEAST_FACTOR, type Meter, NO_SHARE_RETRY_MS, ROUNDING_MS } from './meter.ts';

export function createLeakyBucket(perSecond: number, maxWaiting: number): Meter {
  let nextTurn = Number.NEGATIVE_INFINITY;

  function peek(now: number, factor: number, patienceMs: number): number {
    if (factor < LEAST_FACTOR) return -NO_SHARE_RETRY_MS;
    const wait = nextTurn - now;
    if (wait <= ROUNDING_MS) return 0;
    const most = Math.min(patienceMs, (maxWaiting * 1_000) / (perSecond * factor));
    return wait <= most + ROUNDING_MS ? wait : Math.min(-ROUNDING_MS, most - wait);
  }

  return {
    peek,
    take: (now, factor, patienceMs) => {
      const wait = peek(now, factor, patienceMs);
      if (wait >= 0) nextTurn = now + wait + 1_000 / (perSecond * factor);
      return wait;
    },
    giveBack: (factor) => {
      if (factor >= LEAST_FACTOR) nextTurn -= 1_000 / (perSecond * factor);
    },
    left: (now, factor) => {
      if (factor < LEAST_FACTOR) return 0;
      const interval = 1_000 / (perSecond * factor);
      return Math.max(0, Math.floor(1 + maxWaiting - Math.max(0, nextTurn - now) / interval + ROUNDING_MS));
    },
    isIdle: (now) => nextTurn <= now,
  };
}
