import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { defaultRules, type PolicyRules } from '../src/index.ts';
import { bad, held, ok, policyOf, settled, within } from './support/calls.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const lenient = { breaker: { ...defaultRules.breaker, minimumCalls: 10_000 } };
const candidate: PolicyRules = { ...defaultRules, version: 7 };

function shadowed(change: Partial<PolicyRules>) {
  const made = policyOf(lenient);
  made.policy.setShadow({ ...candidate, ...change });
  const would = () => made.policy.snapshot().shadow?.wouldRefuse;
  return { ...made, would };
}

test('tells what a candidate would have refused, by which of its rules, and refuses nothing', async () => {
  const limit = { algorithm: 'token_bucket', perSecond: 1, burst: 3 } as const;
  const { policy, events, would } = shadowed({ rate: { mode: 'enforce', scope: 'instance', warmUpMs: 0, limit } });
  for (let i = 0; i < 10; i++) expect(await policy.run(ok, within())).toMatchObject({ kind: 'answered' });
  expect(would()).toMatchObject({ rate: 7, breaker: 0 });
  expect(events.find(({ kind }) => kind === 'shadow_would_refuse')).toMatchObject({
    refusal: { rule: 'rate', rulesVersion: 7 },
  });
});

test('its breaker judges the same outcomes, but not those of calls that it would not have made', async () => {
  const { policy, would } = shadowed({ breaker: { ...defaultRules.breaker, minimumCalls: 5, openMs: 1_000 } });
  for (let i = 0; i < 5; i++) await policy.run(bad, within());
  await settled();
  for (let i = 0; i < 20; i++) await policy.run(bad, within());
  expect(would()).toMatchObject({ breaker: 20 });
  await vi.advanceTimersByTimeAsync(1_000);
  await policy.run(ok, within());
  expect(would()).toMatchObject({ breaker: 20 });
  expect(policy.snapshot().state).toBe('closed');
});

test('counts the consumers, the crowd and the time-outs of the candidate', async () => {
  const { policy, would } = shadowed({
    quota: { mode: 'enforce', scope: 'instance', perSecond: 1, burst: 1 },
    bulkhead: { maxInFlight: 2, maxWaiting: 0 },
    timeout: { mode: 'fixed', ms: 100 },
  });
  const work = held();
  const results = ['a', 'b', 'c', 'a'].map((consumer) => policy.run(work.call, { ...within(), consumer }));
  await vi.advanceTimersByTimeAsync(200);
  for (const _ of results) work.end();
  await Promise.all(results);
  expect(would()).toMatchObject({ quota: 1, bulkhead: 1 });
  expect(policy.snapshot().shadow?.wouldTimeOut).toBe(2);
});

test('ends at once, and a wrong candidate never begins', async () => {
  const { policy } = shadowed({});
  expect(() => policy.setShadow({ ...candidate, timeout: { mode: 'fixed', ms: 0 } })).toThrow('timeout.ms must be');
  expect(policy.snapshot().shadow?.rulesVersion).toBe(7);
  policy.setShadow(null);
  expect(policy.snapshot().shadow).toBeNull();
});
