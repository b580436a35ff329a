// The rules of one channel and operation, checked when they are set: a wrong value is refused with its allowed range.

export type LimiterMode = 'enforce' | 'alarm_only' | 'off';

export interface BreakerRules {
  /** Opens when at least this share of the window's calls failed technically. */
  readonly failureRate: number;
  /** Fewer calls than this in the window prove nothing. */
  readonly minimumCalls: number;
  readonly windowMs: number;
  /** First time open; doubles with each probe that fails, up to the longest. */
  readonly openMs: number;
  readonly longestOpenMs: number;
  /** Probes at once while half-open; that many successes close it. */
  readonly probes: number;
}

export interface PolicyRules {
  readonly version: number;
  readonly breaker: BreakerRules;
  readonly bulkhead: { readonly maxInFlight: number; readonly maxWaiting: number };
  /** Measured at the wire: retries count. */
  readonly rate: { readonly mode: LimiterMode; readonly perSecond: number; readonly burst: number };
  readonly timeoutMs: number;
}

/** Conservative rules for a channel about which nothing is known yet. */
export const defaultRules: PolicyRules = {
  version: 0,
  breaker: { failureRate: 0.5, minimumCalls: 20, windowMs: 10_000, openMs: 5_000, longestOpenMs: 60_000, probes: 3 },
  bulkhead: { maxInFlight: 256, maxWaiting: 1_024 },
  rate: { mode: 'off', perSecond: 1_000, burst: 1_000 },
  timeoutMs: 10_000,
};

/** Returns the rules, frozen; throws RangeError naming the first value outside its range. */
export function checkRules(rules: PolicyRules): PolicyRules {
  const { breaker, bulkhead, rate } = rules;
  inRange('version', rules.version, 0, Number.MAX_SAFE_INTEGER);
  inRange('breaker.failureRate', breaker.failureRate, 0.01, 1);
  inRange('breaker.minimumCalls', breaker.minimumCalls, 1, 100_000);
  inRange('breaker.windowMs', breaker.windowMs, 1_000, 300_000);
  inRange('breaker.openMs', breaker.openMs, 10, 600_000);
  inRange('breaker.longestOpenMs', breaker.longestOpenMs, breaker.openMs, 3_600_000);
  inRange('breaker.probes', breaker.probes, 1, 100);
  inRange('bulkhead.maxInFlight', bulkhead.maxInFlight, 1, 10_000);
  inRange('bulkhead.maxWaiting', bulkhead.maxWaiting, 0, 100_000);
  inRange('rate.perSecond', rate.perSecond, 0.01, 1_000_000);
  inRange('rate.burst', rate.burst, 1, 1_000_000);
  inRange('timeoutMs', rules.timeoutMs, 1, 600_000);
  return Object.freeze(rules);
}

function inRange(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most)) throw new RangeError(`${name} must be ${least} to ${most}, is ${value}`);
}
