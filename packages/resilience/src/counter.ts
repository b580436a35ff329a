// A counter over a sliding window: the times of the last calls, in a ring. A call may pass when the one that many calls ago
// has left the window, so no window of that length holds more, wherever it begins. (A counter that starts again at fixed
// times lets twice as many through around each of them.)
import { type Meter, NO_SHARE_RETRY_MS, ROUNDING_MS } from './meter.ts';

/** A counter per terminal is mostly a quiet one: the ring grows as far as it is used. */
const FIRST_SIZE = 32;

export function createCounter(calls: number, windowMs: number): Meter {
  let times = new Float64Array(Math.min(calls, FIRST_SIZE)).fill(Number.NEGATIVE_INFINITY);
  let next = 0;

  /** The time of the nth last call. */
  function nthLast(n: number): number {
    if (n > times.length) return Number.NEGATIVE_INFINITY;
    return times[(next - n + times.length) % times.length] ?? Number.NEGATIVE_INFINITY;
  }

  function grow(): void {
    const larger = new Float64Array(Math.min(calls, times.length * 2)).fill(Number.NEGATIVE_INFINITY);
    larger.set(times.subarray(next), 0);
    larger.set(times.subarray(0, next), times.length - next);
    next = times.length;
    times = larger;
  }

  function peek(now: number, factor: number): number {
    const allowed = Math.floor(calls * Math.min(1, factor) + ROUNDING_MS);
    if (allowed <= 0) return -NO_SHARE_RETRY_MS;
    const wait = nthLast(allowed) + windowMs - now;
    return wait > ROUNDING_MS ? -wait : 0;
  }

  return {
    peek,
    take: (now, factor) => {
      const wait = peek(now, factor);
      if (wait !== 0) return wait;
      if (times.length < calls && nthLast(times.length) > now - windowMs) grow();
      times[next] = now;
      next = (next + 1) % times.length;
      return 0;
    },
    giveBack: () => {
      next = (next - 1 + times.length) % times.length;
      times[next] = Number.NEGATIVE_INFINITY;
    },
    left: (now, factor) => {
      const allowed = Math.floor(calls * Math.min(1, factor) + ROUNDING_MS);
      let taken = 0;
      while (taken < allowed && nthLast(taken + 1) > now - windowMs) taken++;
      return allowed - taken;
    },
    isIdle: (now) => nthLast(1) <= now - windowMs,
  };
}
