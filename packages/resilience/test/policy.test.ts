import { describe, expect, test } from 'vitest';
import {
  checkRules,
  createChannelPolicy,
  defaultRules,
  type PolicyEvent,
  type PolicyRules,
  type Verdict,
} from '../src/index.ts';

const ok = async (): Promise<Verdict<string>> => ({ kind: 'success', value: 'ok' });
const bad = async (): Promise<Verdict<string>> => ({ kind: 'technical', value: 'bad' });
const soon = (ms = 5_000) => ({ deadline: performance.now() + ms });

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

describe('the policy', () => {
  test('passes an answer through, and a technical one as unhealthy', async () => {
    const policy = policyOf();
    expect(await policy.run(ok, soon())).toEqual({ kind: 'answered', value: 'ok', healthy: true, tries: 1 });
    expect(await policy.run(bad, soon())).toEqual({ kind: 'answered', value: 'bad', healthy: false, tries: 1 });
  });

  test('refuses without calling when no time is left', async () => {
    let called = false;
    const result = await policyOf().run(async () => {
      called = true;
      return ok();
    }, soon(-1));
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
    expect(await policy.run(() => work.passed, soon())).toEqual({
      kind: 'abandoned',
      reason: 'timeout',
      error: null,
      tries: 1,
    });
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
    const second = await policy.run(ok, soon(20));
    expect(second).toMatchObject({ kind: 'refused', refusal: { rule: 'bulkhead' } });
    expect(policy.snapshot().waiting).toBe(0);
    work.open({ kind: 'success', value: 'ok' });
    await first;
  });

  test('a throwing listener does not turn a paid call into a failure', async () => {
    const seen = new Promise((resolve) => process.once('warning', resolve));
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
