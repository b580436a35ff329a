// The timeout of an attempt: fixed, or the observed quantile x 1.5. What is observed is how long calls really took, late
// ones included; a call that never ended says nothing about how long one takes, so a bank that hangs does not stretch its
// own timeout.
import { createLatencies } from './latency.ts';
import type { TimeoutRules } from './rules.ts';

export interface Quantiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

export interface Timeout {
  /** ms */
  at(now: number): number;
  observe(durationMs: number, now: number): void;
  /** Null: too few calls of late. At most a second old. */
  quantiles(now: number): Quantiles | null;
  setRules(rules: TimeoutRules): void;
}

const MARGIN = 1.5;
/** A minute of history at the most, half a minute at the least. */
const SPAN_MS = 30_000;
const RECKON_EVERY_MS = 1_000;

export function createTimeout(initial: TimeoutRules, start: number): Timeout {
  let rules = initial;
  const latencies = createLatencies(SPAN_MS, start);
  let reckonedAt = Number.NEGATIVE_INFINITY;
  let known: Quantiles | null = null;

  function quantiles(now: number): Quantiles | null {
    if (now - reckonedAt < RECKON_EVERY_MS) return known;
    reckonedAt = now;
    const p50 = latencies.quantile(0.5, now);
    const p95 = latencies.quantile(0.95, now);
    const p99 = latencies.quantile(0.99, now);
    known = p50 === null || p95 === null || p99 === null ? null : { p50, p95, p99 };
    return known;
  }

  return {
    at: (now) => {
      switch (rules.mode) {
        case 'fixed':
          return rules.ms;
        case 'auto': {
          const observed = quantiles(now);
          if (observed === null) return rules.initialMs;
          return Math.min(rules.mostMs, Math.max(rules.leastMs, observed[rules.quantile] * MARGIN));
        }
      }
    },
    observe: latencies.record,
    quantiles,
    setRules: (next) => {
      rules = next;
    },
  };
}
