// The pipeline as a whole, under a virtual clock.
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { checkRules, defaultRules, type PolicyRules } from '../src/index.ts';
import { bad, held, never, ok, policyOf, settled, within } from './support/calls.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const tight = { bulkhead: { maxInFlight: 1, maxWaiting: 1 } };
const rateOf = (burst: number, mode: PolicyRules['rate']['mode'] = 'enforce'): Pick<PolicyRules, 'rate'> => ({
  rate: {
    mode,
    scope: 'cluster',
    warmUpMs: 0,
    limit: { algorithm: 'token_bucket', perSecond: 1, burst },
  },
});

describe('a call', () => {
  test('is passed through with its answer, and technical trouble as unhealthy', async () => {
    const { policy } = policyOf();
    expect(await policy.run(ok, within())).toEqual({ kind: 'answered', value: 'ok', healthy: true, tries: 1 });
    expect(await policy.run(bad, within())).toEqual({ kind: 'answered', value: 'bad', healthy: false, tries: 1 });
  });

  test('without time left is refused without being made', async () => {
    const work = held();
    const result = await policyOf().policy.run(work.call, within(0));
    expect(result).toMatchObject({ kind: 'refused', refusal: { rule: 'deadline', numbers: { left_ms: 0 } } });
    expect(work.made).toBe(0);
  });

  test('that throws is abandoned with its error, never refused', async () => {
    const result = await policyOf().policy.run(() => {
      throw new Error('synchronous');
    }, within());
    expect(result).toMatchObject({ kind: 'abandoned', reason: 'error', error: { message: 'synchronous' } });
  });

  test('gets a signal of its own: one that times out does not abort its siblings', async () => {
    const { policy } = policyOf({ timeout: { mode: 'fixed', ms: 100 } });
    const signals: AbortSignal[] = [];
    const call = async ({ signal }: { signal: AbortSignal }) => {
      signals.push(signal);
      return never({ signal, deadline: 0, fault: null, maySend: () => true });
    };
    const first = policy.run(call, within());
    await vi.advanceTimersByTimeAsync(50);
    void policy.run(call, within());
    await vi.advanceTimersByTimeAsync(60);
    await first;
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  });

  test('that asks for its signal after it was abandoned finds it aborted', async () => {
    const { policy } = policyOf({ timeout: { mode: 'fixed', ms: 100 } });
    const seen = new Promise((resolve) => {
      void policy.run(async (context) => {
        await new Promise((later) => setTimeout(later, 200));
        resolve(context.signal.aborted);
        return ok(context);
      }, within());
    });
    await vi.advanceTimersByTimeAsync(200);
    expect(await seen).toBe(true);
  });
});

describe('the bulkhead', () => {
  test('holds a slot until the work has really ended, and a late result is captured', async () => {
    const { policy, events } = policyOf({
      timeout: { mode: 'fixed', ms: 20 },
      bulkhead: { maxInFlight: 1, maxWaiting: 0 },
    });
    const work = held();
    const result = policy.run(work.call, within());
    await vi.advanceTimersByTimeAsync(20);
    expect(await result).toEqual({ kind: 'abandoned', reason: 'timeout', error: null, tries: 1 });
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'refused', refusal: { rule: 'bulkhead' } });
    await vi.advanceTimersByTimeAsync(30);
    work.end({ kind: 'success', value: 'late' });
    await settled();
    expect(events).toContainEqual({ kind: 'late', value: 'late', error: null, afterMs: 50 });
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'answered' });
  });

  test('drops whoever waits at its own deadline, and gives its permit back', async () => {
    const { policy } = policyOf(tight);
    const work = held();
    const first = policy.run(work.call, within());
    const second = policy.run(ok, within(20));
    await settled();
    expect(policy.snapshot().waiting).toBe(1);
    await vi.advanceTimersByTimeAsync(20);
    expect(await second).toMatchObject({
      kind: 'refused',
      refusal: { rule: 'bulkhead', reason: expect.stringContaining('until its deadline') },
    });
    expect(policy.snapshot().waiting).toBe(0);
    work.end();
    await first;
  });

  test('that is made wider admits who waits at once; one made narrower interrupts nobody', async () => {
    const { policy } = policyOf(tight);
    const work = held();
    const results = [policy.run(work.call, within()), policy.run(work.call, within())];
    await settled();
    expect(work.made).toBe(1);
    policy.applyRules({ ...defaultRules, bulkhead: { maxInFlight: 2, maxWaiting: 0 } });
    await settled();
    expect(work.made).toBe(2);
    policy.applyRules({ ...defaultRules, bulkhead: { maxInFlight: 1, maxWaiting: 0 } });
    work.end();
    work.end();
    expect((await Promise.all(results)).every(({ kind }) => kind === 'answered')).toBe(true);
  });
});

describe('what refuses', () => {
  test('by a gate that was shut while the call waited for its slot takes no rate token', async () => {
    const { policy } = policyOf({ ...rateOf(2), ...tight });
    const work = held();
    const first = policy.run(work.call, within());
    const second = policy.run(ok, within());
    await settled();
    policy.setGate({ mode: 'forced_open', reason: 'test' });
    work.end();
    expect(await second).toMatchObject({ kind: 'refused', refusal: { rule: 'gate' } });
    await first;
    expect(policy.snapshot()).toMatchObject({ rateTokens: 1, inFlight: 0, waiting: 0 });
  });

  test.each<[string, Partial<PolicyRules>, object]>([
    ['rate', rateOf(1), { per_second: 1, burst: 1, share: 1 }],
    ['quota', { quota: { mode: 'enforce', scope: 'cluster', perSecond: 1, burst: 1 } }, { per_second: 1, burst: 1 }],
  ])('by %s says which rules, which numbers and when to come back', async (rule, rules, numbers) => {
    const { policy } = policyOf({ ...rules, version: 12 });
    const run = { ...within(), consumer: 'mer_1' };
    await policy.run(ok, run);
    const refusal = { rule, rulesVersion: 12, numbers, retryAfterMs: 1_000, reason: expect.any(String) };
    expect(policy.reserve('mer_1')).toMatchObject(refusal);
    expect(await policy.run(ok, run)).toMatchObject({ kind: 'refused', refusal });
    expect(policy.snapshot()).toMatchObject({ inFlight: 0, waiting: 0 });
  });

  test('may only alarm, or be off, from one call to the next', async () => {
    const { policy, kinds } = policyOf(rateOf(1));
    const kind = async () => (await policy.run(ok, within())).kind;
    expect([await kind(), await kind()]).toEqual(['answered', 'refused']);
    policy.applyRules({ ...defaultRules, ...rateOf(1, 'alarm_only') });
    expect(await kind()).toBe('answered');
    expect(kinds()).toContain('would_refuse');
    policy.applyRules({ ...defaultRules, ...rateOf(1, 'off') });
    expect(await kind()).toBe('answered');
  });

  test('of one consumer stops nobody else', async () => {
    const { policy } = policyOf({ quota: { mode: 'enforce', scope: 'instance', perSecond: 1, burst: 1 } });
    const run = async (consumer: string) => (await policy.run(ok, { ...within(), consumer })).kind;
    expect([await run('a'), await run('a'), await run('b')]).toEqual(['answered', 'refused', 'answered']);
  });

  test('later on gives the quota back: what never left costs the consumer nothing', async () => {
    const quota = { mode: 'enforce', scope: 'instance', perSecond: 0.001, burst: 2 } as const;
    const { policy } = policyOf({ quota, ...rateOf(1) });
    const run = { ...within(), consumer: 'a' };
    await policy.run(ok, run);
    for (let i = 0; i < 5; i++)
      expect(await policy.run(ok, run)).toMatchObject({ kind: 'refused', refusal: { rule: 'rate' } });
    policy.setGate({ mode: 'forced_open', reason: 'test' });
    expect(await policy.run(ok, run)).toMatchObject({ kind: 'refused', refusal: { rule: 'gate' } });
    policy.setGate({ mode: 'automatic' });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await policy.run(ok, { ...within(), consumer: 'a' })).toMatchObject({ kind: 'answered' });
  });

  test("a cluster's limit is this process's share of it, which may move and may be nothing", async () => {
    const { policy } = policyOf(rateOf(10));
    const passed = async () => {
      let count = 0;
      for (let i = 0; i < 20; i++) if ((await policy.run(ok, within())).kind === 'answered') count++;
      return count;
    };
    policy.setShare(0.3);
    expect(await passed()).toBe(3);
    await vi.advanceTimersByTimeAsync(100_000);
    policy.setShare(0);
    expect(await passed()).toBe(0);
    policy.setShare(1);
    expect(await passed()).toBe(10);
    expect(() => policy.setShare(1.5)).toThrow('share must be 0 to 1');
  });
});

describe('rules at run time', () => {
  test.each<[string, Partial<PolicyRules>]>([
    ['timeout.ms', { timeout: { mode: 'fixed', ms: 0 } }],
    ['bulkhead.maxInFlight', { bulkhead: { maxInFlight: 0, maxWaiting: 1 } }],
    ['breaker.failureRate', { breaker: { ...defaultRules.breaker, failureRate: Number.NaN } }],
    ['breaker.probes', { breaker: { ...defaultRules.breaker, probes: 1.5 } }],
    ['retry.retries', { retry: { ...defaultRules.retry, retries: 4 } }],
    ['rate.limit.algorithm', { rate: { ...defaultRules.rate, limit: { algorithm: 'magic' } as never } }],
  ])('a wrong %s is refused with its range, and the rules in force stay', (name, change) => {
    const { policy } = policyOf({ version: 3 });
    expect(() => checkRules({ ...defaultRules, ...change })).toThrow(`${name} must be`);
    expect(() => policy.applyRules({ ...defaultRules, ...change, version: 4 })).toThrow(RangeError);
    expect(policy.snapshot().rulesVersion).toBe(3);
  });

  test('are plain data', () => {
    expect(JSON.parse(JSON.stringify(defaultRules))).toEqual(defaultRules);
  });

  test('a breaker that is open stays open through them', async () => {
    const breaker = { ...defaultRules.breaker, minimumCalls: 1 };
    const { policy } = policyOf({ breaker });
    await policy.run(bad, within());
    await settled();
    policy.applyRules({ ...defaultRules, version: 2, breaker: { ...breaker, failureRate: 0.9 } });
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'refused', refusal: { rule: 'breaker' } });
  });
});

test('whatever happens, calls at once never exceed the bulkhead, no slot leaks, and none outlives its deadline', async () => {
  const arrival = fc.record({
    afterMs: fc.integer({ min: 0, max: 40 }),
    takesMs: fc.integer({ min: 0, max: 400 }),
    deadlineMs: fc.integer({ min: 1, max: 300 }),
    outcome: fc.constantFrom('success' as const, 'technical' as const, 'not_sent' as const, 'throws' as const),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 0, max: 6 }),
      fc.array(arrival, { maxLength: 60 }),
      async (maxInFlight, maxWaiting, arrivals) => {
        const { policy } = policyOf(
          {
            bulkhead: { maxInFlight, maxWaiting },
            timeout: { mode: 'fixed', ms: 150 },
            breaker: { ...defaultRules.breaker, minimumCalls: 5, windowMs: 1_000, openMs: 50, rampMs: 100 },
          },
          { retrySafety: 'always' },
        );
        let atOnce = 0;
        let most = 0;
        const results = [];
        for (const { afterMs, takesMs, deadlineMs, outcome } of arrivals) {
          await vi.advanceTimersByTimeAsync(afterMs);
          const begun = performance.now();
          const run = policy.run(async () => {
            most = Math.max(most, ++atOnce);
            await new Promise((resolve) => setTimeout(resolve, takesMs));
            atOnce--;
            if (outcome === 'throws') throw new Error(outcome);
            return { kind: outcome, value: outcome };
          }, within(deadlineMs));
          results.push(run.then(() => expect(performance.now() - begun).toBeLessThanOrEqual(deadlineMs)));
        }
        await vi.advanceTimersByTimeAsync(5_000);
        await Promise.all(results);
        expect(most).toBeLessThanOrEqual(maxInFlight);
        expect(policy.snapshot()).toMatchObject({ inFlight: 0, waiting: 0 });
      },
    ),
    { numRuns: 60 },
  );
});
