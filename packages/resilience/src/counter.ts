// A counter over a sliding window: the times of the last calls, in a ring. A call may pass when the one that many calls ago
// has left the window, so no window of that length holds more, wherever it begins. (A counter that starts again at fixed
// times lets twice as many through around each of them.)
import { type Meter, NO_SHARE_RETRY_MS, ROUNDING_MS } from './meter.ts';

export function createCounter(calls: number, windowMs: number): Meter {
  const times = new Float64Array(calls).fill(Number.NEGATIVE_INFINITY);
  let next = 0;

  function peek(now: number, factor: number): number {
    const allowed = Math.floor(calls * Math.min(1, factor) + ROUNDING_MS);
    if (allowed <= 0) return -NO_SHARE_RETRY_MS;
    const oldest = times[(next - allowed + calls) % calls] ?? Number.NEGATIVE_INFINITY;
    const wait = oldest + windowMs - now;
    return wait > ROUNDING_MS ? -wait : 0;
  }

  return {
    peek,
    take: (now, factor) => {
      const wait = peek(now, factor);
      if (wait === 0) {
        times[next] = now;
        next = (next + 1) % calls;
      }
      return wait;
    },
  };
}
