// Latency quantiles by counting: buckets that each reach 4.4 % further than the one before, so a quantile is off by at most
// that, and nothing is kept per call or sorted. Two spans of time take turns, so that old times are forgotten.

export interface Latencies {
  record(ms: number, now: number): void;
  /** Null: fewer than `LEAST_SAMPLES` calls were seen of late. The upper end of the bucket. */
  quantile(q: number, now: number): number | null;
}

const LEAST_MS = 0.1;
const PER_OCTAVE = 16;
/** 0.1 ms x 2^24 is 28 minutes, longer than any timeout. */
const BUCKETS = 24 * PER_OCTAVE;
const LEAST_SAMPLES = 100;

export function createLatencies(spanMs: number, start: number): Latencies {
  let current = new Uint32Array(BUCKETS);
  let previous = new Uint32Array(BUCKETS);
  let turned = start;

  function turn(now: number): void {
    if (now - turned < spanMs) return;
    const both = now - turned >= 2 * spanMs;
    [current, previous] = [previous, current];
    current.fill(0);
    if (both) previous.fill(0);
    turned += Math.floor((now - turned) / spanMs) * spanMs;
  }

  return {
    record: (ms, now) => {
      turn(now);
      const bucket = ms <= LEAST_MS ? 0 : Math.min(BUCKETS - 1, (Math.log2(ms / LEAST_MS) * PER_OCTAVE) | 0);
      current[bucket] = (current[bucket] ?? 0) + 1;
    },
    quantile: (q, now) => {
      turn(now);
      let total = 0;
      for (let i = 0; i < BUCKETS; i++) total += (current[i] ?? 0) + (previous[i] ?? 0);
      if (total < LEAST_SAMPLES) return null;
      let left = Math.ceil(q * total);
      for (let i = 0; i < BUCKETS; i++) {
        left -= (current[i] ?? 0) + (previous[i] ?? 0);
        if (left <= 0) return LEAST_MS * 2 ** ((i + 1) / PER_OCTAVE);
      }
      throw new Error('BUG: a quantile beyond the last bucket');
    },
  };
}
