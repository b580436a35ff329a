// Which meter the rules ask for, and which part of their numbers holds now.
import { createCounter } from './counter.ts';
import { createLeakyBucket } from './leaky-bucket.ts';
import type { Meter } from './meter.ts';
import type { LimitRules, RateRules } from './rules.ts';
import { createTokenBucket } from './token-bucket.ts';

export function createMeter(limit: LimitRules): Meter {
  switch (limit.algorithm) {
    case 'token_bucket':
      return createTokenBucket(limit.perSecond, limit.burst);
    case 'leaky_bucket':
    case 'paced':
      return createLeakyBucket(limit.perSecond, limit.maxWaiting);
    case 'counter':
      return createCounter(limit.calls, limit.windowMs);
  }
}

/** A third of the rate at the start of a warm-up, the whole at its end. */
const COLD_PART = 1 / 3;

export function factorOf(rules: RateRules, share: number, ageMs: number): number {
  const ofCluster = rules.scope === 'cluster' ? share : 1;
  if (rules.warmUpMs === 0 || ageMs >= rules.warmUpMs) return ofCluster;
  return ofCluster * (COLD_PART + (1 - COLD_PART) * Math.max(0, ageMs / rules.warmUpMs));
}
