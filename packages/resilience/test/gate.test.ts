import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { checkGate, defaultRules, type Gate, keepsCallsAway } from '../src/index.ts';
import { bad, held, notSent, ok, policyOf, settled, within } from './support/calls.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const reason = 'fraud at the bank';
const hair = { breaker: { ...defaultRules.breaker, minimumCalls: 2 } };

describe('a gate', () => {
  test.each<Gate>([
    { mode: 'forced_open', reason },
    { mode: 'draining', reason },
    { mode: 'percent_open', share: 0, reason },
  ])('%j refuses, says which it is and not in whose words, and cannot say when it ends', async (gate) => {
    const { policy } = policyOf();
    policy.setGate(gate);
    const refusal = { rule: 'gate', reason: gate.mode, retryAfterMs: null };
    expect(policy.reserve()).toMatchObject(refusal);
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'refused', refusal });
  });

  test('that keeps calls away never holds for an essential operation', async () => {
    const { policy } = policyOf({}, { essential: true });
    for (const mode of ['forced_open', 'draining'] as const) {
      policy.setGate({ mode, reason });
      expect(policy.reserve()).not.toHaveProperty('rule');
      expect(await policy.run(ok, within())).toMatchObject({ kind: 'answered' });
    }
    policy.setGate({ mode: 'percent_open', share: 0, reason });
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'answered' });
  });

  test('holds until it is moved, however long nothing happens', async () => {
    const { policy } = policyOf();
    policy.setGate({ mode: 'forced_open', reason });
    await vi.advanceTimersByTimeAsync(86_400_000);
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'refused' });
  });

  test('shut while calls wait for a slot or a turn lets none of them leave', async () => {
    const limit = { algorithm: 'leaky_bucket', perSecond: 1, maxWaiting: 10 } as const;
    const { policy } = policyOf({ rate: { mode: 'enforce', scope: 'instance', warmUpMs: 0, limit } });
    const work = held();
    const results = [1, 2, 3].map(() => policy.run(work.call, within(10_000)));
    await settled();
    expect(work.made).toBe(1);
    policy.setGate({ mode: 'forced_open', reason });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(work.made).toBe(1);
    work.end();
    expect((await Promise.all(results)).map(({ kind }) => kind)).toEqual(['answered', 'refused', 'refused']);
    expect(policy.snapshot()).toMatchObject({ inFlight: 0, waiting: 0 });
  });

  test('shut after a call was admitted is seen in the turn of its write, but not by an essential operation', async () => {
    for (const essential of [false, true]) {
      const { policy } = policyOf({}, { essential });
      const asked: boolean[] = [];
      const result = policy.run(async (context) => {
        asked.push(context.maySend());
        policy.setGate({ mode: 'forced_open', reason });
        asked.push(context.maySend());
        return notSent(context);
      }, within());
      await result;
      expect(asked).toEqual([true, essential]);
      // What our own gate held back is no failure of the bank.
      expect(policy.snapshot().window.failures).toBe(essential ? 1 : 0);
    }
  });

  test('draining lets what is in flight end', async () => {
    const { policy } = policyOf();
    const work = held();
    const result = policy.run(work.call, within());
    await settled();
    policy.setGate({ mode: 'draining', reason });
    work.end();
    expect(await result).toMatchObject({ kind: 'answered', healthy: true });
  });

  test.each([0.1, 0.5, 0.25, 1])('a share of %d passes exactly that share of all who come', async (share) => {
    const { policy } = policyOf();
    policy.setGate({ mode: 'percent_open', share, reason });
    let passed = 0;
    for (let i = 0; i < 1_000; i++) {
      // As collection does: look first, and come only when it looks good.
      if ('rule' in policy.reserve()) continue;
      if ((await policy.run(ok, within())).kind === 'answered') passed++;
    }
    expect(passed).toBe(1_000 * share);
  });

  test('forced closed passes what the breaker would refuse; limits still hold', async () => {
    const { policy } = policyOf({ ...hair, bulkhead: { maxInFlight: 1, maxWaiting: 0 } });
    for (let i = 0; i < 3; i++) await policy.run(bad, within());
    expect(policy.reserve()).toMatchObject({ rule: 'breaker' });
    policy.setGate({ mode: 'forced_closed', reason });
    expect(policy.reserve()).not.toHaveProperty('rule');
    const work = held();
    void policy.run(work.call, within());
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'refused', refusal: { rule: 'bulkhead' } });
    work.end();
  });

  test('metrics only: the breaker opens and tells, and refuses nothing', async () => {
    const { policy, kinds } = policyOf(hair);
    policy.setGate({ mode: 'metrics_only', reason });
    for (let i = 0; i < 5; i++) await policy.run(bad, within());
    expect(policy.snapshot().state).toBe('open');
    expect(policy.reserve()).not.toHaveProperty('rule');
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'answered' });
    expect(kinds()).toContain('would_refuse');
    expect(kinds()).not.toContain('refused');
  });

  test('that is nonsense is refused, and the one in force stays', () => {
    const { policy } = policyOf();
    policy.setGate({ mode: 'forced_open', reason });
    expect(() => policy.setGate({ mode: 'percent_open', share: 1.5, reason })).toThrow('gate.share must be 0 to 1');
    expect(() => checkGate({ mode: 'ajar' } as unknown as Gate)).toThrow('gate.mode must be one of');
    expect(policy.snapshot().gate.mode).toBe('forced_open');
  });

  test('knows by itself whether it keeps calls away', () => {
    expect(keepsCallsAway({ mode: 'percent_open', share: 0.9, reason })).toBe(true);
    expect(keepsCallsAway({ mode: 'metrics_only', reason })).toBe(false);
  });
});
