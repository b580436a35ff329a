import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Call, defaultRules, type TimeoutRules } from '../src/index.ts';
import { createLatencies } from '../src/latency.ts';
import { createTimeout } from '../src/timeout.ts';
import { ok, policyOf, within } from './support/calls.ts';

const auto: TimeoutRules = { mode: 'auto', quantile: 'p99', initialMs: 3_000, leastMs: 200, mostMs: 8_000 };

describe('latency quantiles', () => {
  test('are within a bucket of the sorted truth, and never below it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.2, max: 600_000, noNaN: true }), { minLength: 100, maxLength: 500 }),
        fc.constantFrom(0.5, 0.95, 0.99),
        (times, q) => {
          const latencies = createLatencies(30_000, 0);
          for (const time of times) latencies.record(time, 0);
          const truth = times.toSorted((a, b) => a - b)[Math.ceil(q * times.length) - 1] ?? 0;
          const told = latencies.quantile(q, 0) ?? 0;
          expect(told / truth).toBeGreaterThanOrEqual(1 - 1e-9);
          expect(told / truth).toBeLessThanOrEqual(2 ** (1 / 16) + 1e-9);
        },
      ),
    );
  });

  test('of too few calls are not known, and old ones are forgotten', () => {
    const latencies = createLatencies(30_000, 0);
    for (let i = 0; i < 99; i++) latencies.record(100, 0);
    expect(latencies.quantile(0.5, 0)).toBeNull();
    latencies.record(100, 0);
    expect(latencies.quantile(0.5, 59_999)).toBeCloseTo(100, -1);
    expect(latencies.quantile(0.5, 60_000)).toBeNull();
  });
});

describe('an auto timeout', () => {
  /** 2 % of the calls take 1,000 ms, 10 % 500 ms, the rest 100 ms. */
  const observed = (rules: TimeoutRules) => {
    const timeout = createTimeout(rules, 0);
    for (let i = 0; i < 1_000; i++) timeout.observe(i % 50 === 0 ? 1_000 : i % 10 === 1 ? 500 : 100, 0);
    return timeout.at(1_000);
  };

  test('is the 99th percentile x 1.5, or the 95th for an unstable third party', () => {
    expect(observed(auto) / 1_500).toBeCloseTo(1, 1);
    expect(observed({ ...auto, quantile: 'p95' }) / 750).toBeCloseTo(1, 1);
  });

  test('stays between its least and its most, and is its initial one until enough was seen', () => {
    expect(observed({ ...auto, mostMs: 1_200, initialMs: 1_200 })).toBe(1_200);
    expect(observed({ ...auto, leastMs: 2_000 })).toBe(2_000);
    expect(createTimeout(auto, 0).at(0)).toBe(3_000);
  });
});

describe('in the policy', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  const taking =
    (ms: number): Call<string> =>
    (context) =>
      new Promise((resolve) => setTimeout(() => resolve(ok(context)), ms));

  test('a bank that hangs does not stretch its own timeout, a late answer does', async () => {
    const breaker = { ...defaultRules.breaker, minimumCalls: 10_000 };
    const { policy } = policyOf({ timeout: auto, breaker });
    const runAll = async (call: Call<string>, times: number) => {
      const results = Array.from({ length: times }, () => policy.run(call, within(60_000)));
      await vi.advanceTimersByTimeAsync(10_000);
      await Promise.all(results);
    };
    await runAll(taking(400), 150);
    expect(policy.snapshot().timeoutMs / 600).toBeCloseTo(1, 1);
    await runAll(() => new Promise(() => undefined), 20);
    expect(policy.snapshot().timeoutMs / 600).toBeCloseTo(1, 1);
    await runAll(taking(2_000), 20);
    expect(policy.snapshot().timeoutMs / 3_000).toBeCloseTo(1, 1);
  });

  test('warns when it exceeds what the caller allows, and ends at the deadline all the same', async () => {
    const { policy, events } = policyOf({ timeout: { mode: 'fixed', ms: 5_000 } });
    const started = performance.now();
    const results = [1, 2].map(() => policy.run(() => new Promise(() => undefined), within(1_000)));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await Promise.all(results)).toEqual([
      { kind: 'abandoned', reason: 'timeout', error: null, tries: 1 },
      { kind: 'abandoned', reason: 'timeout', error: null, tries: 1 },
    ]);
    expect(performance.now() - started).toBe(1_000);
    const warnings = events.filter(({ kind }) => kind === 'timeout_exceeds_caller');
    expect(warnings).toEqual([{ kind: 'timeout_exceeds_caller', timeoutMs: 5_000, callerAllowsMs: 1_000 }]);
  });

  test('an impatient caller says nothing about the bank; a patient one who waits in vain does', async () => {
    const { policy } = policyOf({ timeout: { mode: 'fixed', ms: 2_000 } });
    const runAll = async (deadlineMs: number, call: Call<string>) => {
      const results = Array.from({ length: 150 }, () => policy.run(call, within(deadlineMs)));
      await vi.advanceTimersByTimeAsync(3_000);
      await Promise.all(results);
    };
    await runAll(5_000, taking(400));
    await runAll(200, taking(400));
    expect(policy.snapshot()).toMatchObject({ state: 'closed', window: { calls: 150, failures: 0 } });
    await runAll(1_000, () => new Promise(() => undefined));
    expect(policy.snapshot().state).toBe('open');
  });
});
