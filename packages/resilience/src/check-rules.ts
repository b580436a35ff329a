// The allowed range of every rule. Checked when rules are set: a wrong value is refused with its range, and the rules in
// force stay.
import type { LimitRules, PolicyRules, RateRules, TimeoutRules } from './rules.ts';

/** bottleneck passes about 400 jobs a second and paces exactly up to half of that (docs/facts.md). */
const FASTEST_PACE_PER_SECOND = 200;

/** Returns the rules, frozen; throws RangeError naming the first value outside its range. */
export function checkRules(rules: PolicyRules): PolicyRules {
  const { quota, retry, breaker, bulkhead, rate } = rules;
  inRange('version', rules.version, 0, Number.MAX_SAFE_INTEGER);

  oneOf('quota.mode', quota.mode, ['enforce', 'alarm_only', 'off']);
  oneOf('quota.scope', quota.scope, ['instance', 'cluster']);
  inRange('quota.perSecond', quota.perSecond, 0.001, 1_000_000);
  wholeInRange('quota.burst', quota.burst, 1, 1_000_000);

  wholeInRange('retry.retries', retry.retries, 0, 3);
  inRange('retry.baseMs', retry.baseMs, 1, 60_000);
  inRange('retry.longestMs', retry.longestMs, retry.baseMs, 600_000);
  inRange('retry.budgetShare', retry.budgetShare, 0, 1);
  inRange('retry.budgetReserve', retry.budgetReserve, 0, 10_000);

  inRange('breaker.failureRate', breaker.failureRate, 0.01, 1);
  inRange('breaker.slowMs', breaker.slowMs, 1, 600_000);
  inRange('breaker.slowRate', breaker.slowRate, 0.01, 1);
  wholeInRange('breaker.minimumCalls', breaker.minimumCalls, 1, 100_000);
  inRange('breaker.windowMs', breaker.windowMs, 1_000, 300_000);
  inRange('breaker.openMs', breaker.openMs, 10, 600_000);
  inRange('breaker.openGrowth', breaker.openGrowth, 1, 10);
  inRange('breaker.longestOpenMs', breaker.longestOpenMs, breaker.openMs, 3_600_000);
  wholeInRange('breaker.probes', breaker.probes, 1, 100);
  inRange('breaker.probeLeaseMs', breaker.probeLeaseMs, 10, 600_000);
  inRange('breaker.rampMs', breaker.rampMs, 0, 600_000);

  wholeInRange('bulkhead.maxInFlight', bulkhead.maxInFlight, 1, 10_000);
  wholeInRange('bulkhead.maxWaiting', bulkhead.maxWaiting, 0, 100_000);

  checkRate('rate', rate);
  checkTimeout(rules.timeout);
  return Object.freeze(rules);
}

/** `name` is what the message calls it. */
export function checkRate(name: string, rate: RateRules): void {
  oneOf(`${name}.mode`, rate.mode, ['enforce', 'alarm_only', 'off']);
  oneOf(`${name}.scope`, rate.scope, ['instance', 'cluster']);
  inRange(`${name}.warmUpMs`, rate.warmUpMs, 0, 3_600_000);
  checkLimit(`${name}.limit`, rate.limit);
}

function checkLimit(name: string, limit: LimitRules): void {
  oneOf(`${name}.algorithm`, limit.algorithm, ['token_bucket', 'leaky_bucket', 'counter', 'paced']);
  switch (limit.algorithm) {
    case 'token_bucket':
      inRange(`${name}.perSecond`, limit.perSecond, 0.001, 1_000_000);
      wholeInRange(`${name}.burst`, limit.burst, 1, 1_000_000);
      return;
    case 'leaky_bucket':
      inRange(`${name}.perSecond`, limit.perSecond, 0.001, 1_000_000);
      wholeInRange(`${name}.maxWaiting`, limit.maxWaiting, 0, 100_000);
      return;
    case 'counter':
      // Each call of the window is remembered, 8 bytes a call.
      wholeInRange(`${name}.calls`, limit.calls, 1, 100_000);
      inRange(`${name}.windowMs`, limit.windowMs, 1, 3_600_000);
      return;
    case 'paced':
      inRange(`${name}.perSecond`, limit.perSecond, 0.001, FASTEST_PACE_PER_SECOND);
      wholeInRange(`${name}.maxWaiting`, limit.maxWaiting, 0, 100_000);
      return;
  }
}

function checkTimeout(timeout: TimeoutRules): void {
  oneOf('timeout.mode', timeout.mode, ['fixed', 'auto']);
  switch (timeout.mode) {
    case 'fixed':
      inRange('timeout.ms', timeout.ms, 1, 600_000);
      return;
    case 'auto':
      oneOf('timeout.quantile', timeout.quantile, ['p99', 'p95']);
      inRange('timeout.leastMs', timeout.leastMs, 1, 600_000);
      inRange('timeout.mostMs', timeout.mostMs, timeout.leastMs, 600_000);
      inRange('timeout.initialMs', timeout.initialMs, timeout.leastMs, timeout.mostMs);
      return;
  }
}

export function inRange(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most)) throw new RangeError(`${name} must be ${least} to ${most}, is ${value}`);
}

export function wholeInRange(name: string, value: number, least: number, most: number): void {
  inRange(name, value, least, most);
  if (!Number.isInteger(value)) throw new RangeError(`${name} must be a whole number, is ${value}`);
}

export function oneOf(name: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) throw new RangeError(`${name} must be one of ${allowed.join(', ')}, is ${value}`);
}
