import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createBreaker } from '../src/breaker.ts';
import {
  checkRules,
  createChannelPolicy,
  defaultRules,
  type PolicyEvent,
  type PolicyRules,
  type Verdict,
} from '../src/index.ts';
import { createTokenBucket } from '../src/token-bucket.ts';

const ok = async (): Promise<Verdict<string>> => ({ kind: 'success', value: 'ok' });
const bad = async (): Promise<Verdict<string>> => ({ kind: 'technical', value: 'bad' });
const soon = () => performance.now() + 5_000;

function policyOf(rules: Partial<PolicyRules> = {}, listener?: (event: PolicyEvent) => void) {
  return createChannelPolicy({
    channel: 'bank_a',
    operation: 'pay',
    rules: { ...defaultRules, ...rules },
    ...(listener === undefined ? {} : { listener }),
  });
}

function gateOfPromise<T>() {
  let open: (value: T) => void = () => undefined;
  const passed = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { open, passed };
}

describe('the breaker', () => {
  const rules = {
    ...defaultRules.breaker,
    minimumCalls: 4,
    failureRate: 0.5,
    openMs: 100,
    longestOpenMs: 400,
    probes: 2,
  };
  const counted = () => new Promise((resolve) => setImmediate(resolve));
  const opened = async () => {
    const breaker = createBreaker(rules, () => undefined);
    for (let i = 0; i < 4; i++) report(breaker, true, 0);
    await counted();
    return breaker;
  };
  const report = (breaker: ReturnType<typeof createBreaker>, failed: boolean, now: number) => {
    const permit = breaker.permit(now);
    if (typeof permit === 'number') throw new Error('no permit');
    breaker.report(permit, failed, now);
  };

  test('opens at its failure rate, not before its minimum of calls', async () => {
    const breaker = createBreaker(rules, () => undefined);
    for (let i = 0; i < 3; i++) report(breaker, true, 0);
    await counted();
    expect(breaker.state).toBe('closed');
    report(breaker, true, 0);
    await counted();
    expect(breaker.state).toBe('open');
    expect(breaker.permit(99)).toBe(1);
  });

  test('gives out no more probes than it may, and closes only when that many succeeded', async () => {
    const breaker = await opened();
    const first = breaker.permit(100);
    const second = breaker.permit(100);
    expect(breaker.permit(100)).toEqual(expect.any(Number));
    if (typeof first === 'number' || typeof second === 'number') throw new Error('no permit');
    breaker.report(first, false, 110);
    expect(breaker.state).toBe('half_open');
    breaker.report(second, false, 110);
    expect(breaker.state).toBe('closed');
  });

  test('a success that began before it opened does not close it', async () => {
    const breaker = createBreaker(rules, () => undefined);
    const stale = breaker.permit(0);
    for (let i = 0; i < 4; i++) report(breaker, true, 0);
    await counted();
    const probe = breaker.permit(100);
    if (typeof stale === 'number' || typeof probe === 'number') throw new Error('no permit');
    breaker.report(stale, false, 101);
    expect(breaker.state).toBe('half_open');
  });

  test('stays open longer each time a probe fails, up to the longest', async () => {
    const breaker = await opened();
    let now = 0;
    const waits: number[] = [];
    for (let i = 0; i < 4; i++) {
      const wait = breaker.permit(now);
      if (typeof wait !== 'number') throw new Error('permit while open');
      waits.push(wait);
      now += wait;
      report(breaker, true, now);
    }
    expect(waits).toEqual([100, 200, 400, 400]);
  });

  test('begins with an empty window after it closed', async () => {
    const breaker = await opened();
    report(breaker, false, 100);
    report(breaker, false, 100);
    expect(breaker.state).toBe('closed');
    report(breaker, true, 101);
    await counted();
    expect(breaker.state).toBe('closed');
  });

  test('a call that was never made gives its probe back', async () => {
    const breaker = await opened();
    for (let i = 0; i < 10; i++) {
      const permit = breaker.permit(100);
      if (typeof permit === 'number') throw new Error('no permit');
      breaker.cancel(permit);
    }
  });

  test('500 failures at once do not block the loop', () => {
    const breaker = createBreaker({ ...rules, minimumCalls: 100_000 }, () => undefined);
    for (let i = 0; i < 20_000; i++) report(breaker, false, 0);
    const started = performance.now();
    for (let i = 0; i < 500; i++) report(breaker, true, 0);
    expect(performance.now() - started).toBeLessThan(250); // naive use: 3,300 ms; a bound, not a benchmark
    breaker.close();
  });
});

describe('the token bucket', () => {
  test('passes in no window of any length more than burst plus rate times length', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5_000 }),
        fc.integer({ min: 1, max: 100 }),
        fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 10, maxLength: 300 }),
        (perSecond, burst, gaps) => {
          const bucket = createTokenBucket(perSecond, burst);
          const passed: number[] = [];
          let now = 0;
          for (const gap of gaps) {
            now += gap;
            for (let i = 0; i < 5; i++) if (bucket.take(now) === 0) passed.push(now);
          }
          for (let from = 0; from < passed.length; from++) {
            for (let to = from; to < passed.length; to += 7) {
              const length = (passed[to] ?? 0) - (passed[from] ?? 0);
              expect(to - from + 1).toBeLessThanOrEqual(burst + (length * perSecond) / 1_000 + 1e-6);
            }
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test.each([500, 5_000])('at %d/s with twice the offer it errs by less than 0.1 %', (perSecond) => {
    const bucket = createTokenBucket(perSecond, 1);
    let passed = 0;
    const seconds = 20;
    for (let i = 0; i < perSecond * 2 * seconds; i++) if (bucket.take((i * 1_000) / (perSecond * 2)) === 0) passed++;
    expect(Math.abs(passed / (perSecond * seconds) - 1)).toBeLessThan(0.001);
  });
});

describe('the policy', () => {
  test('passes an answer through, and a technical one as unhealthy', async () => {
    const policy = policyOf();
    expect(await policy.run(ok, soon())).toEqual({ kind: 'answered', value: 'ok', healthy: true });
    expect(await policy.run(bad, soon())).toEqual({ kind: 'answered', value: 'bad', healthy: false });
  });

  test('refuses without calling when no time is left', async () => {
    let called = false;
    const result = await policyOf().run(async () => {
      called = true;
      return ok();
    }, performance.now() - 1);
    expect(result).toMatchObject({ kind: 'refused', refusal: { rule: 'deadline' } });
    expect(called).toBe(false);
  });

  test.each([
    [{ mode: 'forced_open', reason: 'fraud at the bank' }],
    [{ mode: 'draining', reason: 'maintenance' }],
    [{ mode: 'percent_open', share: 0, reason: 'test' }],
  ] as const)('the gate %j refuses and says why', async (gate) => {
    const policy = policyOf();
    policy.setGate(gate);
    expect(await policy.run(ok, soon())).toMatchObject({
      kind: 'refused',
      refusal: { rule: 'gate', reason: expect.stringContaining(gate.reason) },
    });
  });

  test('forced closed passes calls that the breaker would refuse', async () => {
    const policy = policyOf({ breaker: { ...defaultRules.breaker, minimumCalls: 2 } });
    for (let i = 0; i < 3; i++) await policy.run(bad, soon());
    expect(policy.wouldRefuse()).toMatchObject({ rule: 'breaker' });
    policy.setGate({ mode: 'forced_closed', reason: 'test' });
    expect(policy.wouldRefuse()).toBeNull();
    expect(await policy.run(ok, soon())).toMatchObject({ kind: 'answered' });
  });

  test('a timed-out call keeps its slot until the work has really ended, and its late result is captured', async () => {
    const events: PolicyEvent[] = [];
    const policy = policyOf(
      { timeout: { mode: 'fixed', ms: 20 }, bulkhead: { maxInFlight: 1, maxWaiting: 0 } },
      (event) => events.push(event),
    );
    const work = gateOfPromise<Verdict<string>>();
    expect(await policy.run(() => work.passed, soon())).toEqual({ kind: 'abandoned', reason: 'timeout', error: null });
    expect(await policy.run(ok, soon())).toMatchObject({ kind: 'refused', refusal: { rule: 'bulkhead' } });
    work.open({ kind: 'success', value: 'late' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(events).toContainEqual(expect.objectContaining({ kind: 'late', value: 'late' }));
    expect(await policy.run(ok, soon())).toMatchObject({ kind: 'answered' });
  });

  test('one call that times out does not abort its siblings', async () => {
    const policy = policyOf({ timeout: { mode: 'fixed', ms: 30 } });
    const signals: AbortSignal[] = [];
    const slow = policy.run(({ signal }) => {
      signals.push(signal);
      return new Promise(() => undefined);
    }, soon());
    await new Promise((resolve) => setTimeout(resolve, 15));
    const quick = policy.run(({ signal }) => {
      signals.push(signal);
      return ok();
    }, soon());
    await Promise.all([slow, quick]);
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);
  });

  test('whoever waits for a slot is dropped at its own deadline', async () => {
    const policy = policyOf({ bulkhead: { maxInFlight: 1, maxWaiting: 5 } });
    const work = gateOfPromise<Verdict<string>>();
    const first = policy.run(() => work.passed, soon());
    const second = await policy.run(ok, performance.now() + 20);
    expect(second).toMatchObject({ kind: 'refused', refusal: { rule: 'bulkhead' } });
    expect(policy.snapshot().waiting).toBe(0);
    work.open({ kind: 'success', value: 'ok' });
    await first;
  });

  test('a throwing listener does not turn a paid call into a failure', async () => {
    const seen = new Promise((resolve) => process.once('uncaughtException', resolve));
    const policy = policyOf({}, () => {
      throw new Error('listener bug');
    });
    expect(await policy.run(ok, soon())).toMatchObject({ kind: 'answered' });
    expect(await seen).toMatchObject({ message: 'listener bug' });
  });

  test('a call that throws is abandoned with its error, never refused', async () => {
    const result = await policyOf().run(() => {
      throw new Error('synchronous');
    }, soon());
    expect(result).toMatchObject({ kind: 'abandoned', reason: 'error', error: { message: 'synchronous' } });
  });

  test('the rate limit refuses, alarms only, or is off', async () => {
    const limit = { algorithm: 'token_bucket', perSecond: 0.01, burst: 1 } as const;
    const rate = { scope: 'instance', warmUpMs: 0, limit } as const;
    const results = async (mode: 'enforce' | 'alarm_only' | 'off') => {
      const events: PolicyEvent[] = [];
      const policy = policyOf({ rate: { ...rate, mode } }, (event) => events.push(event));
      const kinds = [await policy.run(ok, soon()), await policy.run(ok, soon())].map((result) => result.kind);
      return { kinds, alarmed: events.some((event) => event.kind === 'would_refuse') };
    };
    expect(await results('enforce')).toEqual({ kinds: ['answered', 'refused'], alarmed: false });
    expect(await results('alarm_only')).toEqual({ kinds: ['answered', 'answered'], alarmed: true });
    expect(await results('off')).toEqual({ kinds: ['answered', 'answered'], alarmed: false });
  });

  test.each([
    ['timeout.ms', { timeout: { mode: 'fixed', ms: 0 } as const }],
    ['bulkhead.maxInFlight', { bulkhead: { maxInFlight: 0, maxWaiting: 1 } }],
    ['breaker.failureRate', { breaker: { ...defaultRules.breaker, failureRate: Number.NaN } }],
  ])('a wrong rule is refused naming %s and its range', (name, change) => {
    expect(() => checkRules({ ...defaultRules, ...change })).toThrow(`${name} must be`);
  });
});
