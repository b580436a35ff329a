import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Call, createRetryBudget, defaultRules, type RetrySafety } from '../src/index.ts';
import { pauseBeforeRetry } from '../src/retry.ts';
import { bad, never, notSent, ok, policyOf, within } from './support/calls.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const patient = { ...defaultRules.breaker, minimumCalls: 10_000 };

async function run(call: Call<string>, retrySafety: RetrySafety, deadlineMs = 60_000, rules = {}) {
  const { policy, kinds } = policyOf({ breaker: patient, ...rules }, { retrySafety });
  let made = 0;
  const result = policy.run((context) => {
    made++;
    return call(context);
  }, within(deadlineMs));
  await vi.advanceTimersByTimeAsync(deadlineMs);
  return { result: await result, made, kinds: kinds(), policy };
}

describe('what is tried again', () => {
  test.each<[string, RetrySafety, Call<string>, number]>([
    ['technical trouble of what is safe to repeat: three more times', 'always', bad, 4],
    ['a time-out of what is safe to repeat', 'always', never, 4],
    ['what provably never left', 'not_sent', notSent, 4],
    ['not: a charge with technical trouble', 'not_sent', bad, 1],
    ['not: a charge that timed out', 'not_sent', never, 1],
    ['not: anything declared never', 'never', notSent, 1],
    ['not: a success', 'always', ok, 1],
  ])('%s', async (_, safety, call, made) => {
    const ran = await run(call, safety);
    expect(ran.made).toBe(made);
    expect(ran.result).toMatchObject({ tries: made });
  });

  test('a call that throws may have sent: a charge is not repeated', async () => {
    const throws: Call<string> = async () => {
      throw new Error('bug in an adapter');
    };
    expect((await run(throws, 'not_sent')).made).toBe(1);
  });

  test('stops as soon as one try succeeds', async () => {
    let tries = 0;
    const ran = await run(async (context) => (++tries < 3 ? bad(context) : ok(context)), 'always');
    expect(ran.result).toEqual({ kind: 'answered', value: 'ok', healthy: true, tries: 3 });
  });
});

describe('a retry never', () => {
  test('outlives the deadline, its pause included', async () => {
    const started = performance.now();
    const { policy } = policyOf({ breaker: patient, timeout: { mode: 'fixed', ms: 400 } }, { retrySafety: 'always' });
    const result = policy.run(never, within(1_000));
    const ended = result.then(() => performance.now() - started);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await ended).toBeLessThanOrEqual(1_000);
  });

  test('takes more than the budget that all operations of the channel share', async () => {
    const retryBudget = createRetryBudget();
    const options = { retrySafety: 'always', retryBudget } as const;
    const rules = { breaker: patient, retry: { ...defaultRules.retry, budgetShare: 0.1, budgetReserve: 10 } };
    const inquiry = policyOf(rules, options);
    const reversal = policyOf(rules, options);
    let made = 0;
    const counted: Call<string> = async (context) => {
      made++;
      return bad(context);
    };
    const calls = 500;
    const results = Array.from({ length: calls }, (_, i) =>
      (i % 2 === 0 ? inquiry : reversal).policy.run(counted, within(60_000)),
    );
    await vi.advanceTimersByTimeAsync(60_000);
    await Promise.all(results);
    expect(made).toBeGreaterThan(calls);
    expect(made / calls).toBeLessThanOrEqual(1.1 + 10 / calls);
    expect(inquiry.kinds()).toContain('retry_denied');
  });

  test('is sent through a gate that was shut meanwhile; the outcome stays what the last try came to', async () => {
    const { policy } = policyOf({ breaker: patient }, { retrySafety: 'not_sent', random: () => 0.999 });
    const result = policy.run(notSent, within(10_000));
    await vi.advanceTimersByTimeAsync(10);
    policy.setGate({ mode: 'forced_open', reason: 'test' });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await result).toEqual({ kind: 'answered', value: 'not sent', healthy: false, tries: 1 });
    expect(policy.snapshot().retryTokens).toBe(defaultRules.retry.budgetReserve);
  });

  test('turns an outcome of the bank into a refusal of ours', async () => {
    const { policy, kinds } = policyOf(
      { breaker: { ...defaultRules.breaker, minimumCalls: 1 } },
      { retrySafety: 'always' },
    );
    const result = policy.run(bad, within(10_000));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await result).toMatchObject({ kind: 'answered', value: 'bad', tries: 1 });
    expect(kinds()).toContain('refused');
    expect(policy.snapshot().retryTokens).toBe(defaultRules.retry.budgetReserve);
  });
});

test('the default budget makes of a hundred calls at most 110 tries', async () => {
  const { policy } = policyOf(
    { breaker: patient, retry: { ...defaultRules.retry, baseMs: 1 } },
    { retrySafety: 'always' },
  );
  let made = 0;
  const results = Array.from({ length: 100 }, () =>
    policy.run(async (context) => {
      made++;
      return bad(context);
    }, within(60_000)),
  );
  await vi.advanceTimersByTimeAsync(60_000);
  await Promise.all(results);
  expect(made).toBeLessThanOrEqual(110);
});

test('pauses are drawn from the whole time up to a limit that doubles', () => {
  const { retry } = defaultRules;
  const longest = [1, 2, 3, 4, 5, 6].map((n) => pauseBeforeRetry(retry, n, () => 1));
  expect(longest).toEqual([100, 200, 400, 800, 1_600, 2_000]);
  expect(pauseBeforeRetry(retry, 3, () => 0)).toBe(0);
});
