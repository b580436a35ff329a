// A retry storm against a bank that has become slow, under a virtual clock: when both are over, goodput is back by itself.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Call, defaultRules, type PolicyRules } from '../src/index.ts';
import { policyOf, within } from './support/calls.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** Serves one call after the other and never forgets one, also when nobody waits for it any more. */
function bankOf(serviceMs: number) {
  const bank = { serviceMs, busyUntil: 0, backlog: 0, deepest: 0 };
  const call: Call<string> = () =>
    new Promise((resolve) => {
      const now = performance.now();
      bank.busyUntil = Math.max(now, bank.busyUntil) + bank.serviceMs;
      bank.deepest = Math.max(bank.deepest, ++bank.backlog);
      setTimeout(() => {
        bank.backlog--;
        resolve({ kind: 'success', value: 'approved' });
      }, bank.busyUntil - now);
    });
  return { bank, call };
}

const STEP_MS = 20;
const BASE_PER_STEP = 1; // 50 a second, of the 100 that the bank can serve

/** Offers so many calls in each step; resolves to the share that was answered well in the last `lastMs`. */
async function offer(run: () => Promise<boolean>, perStep: number, forMs: number, lastMs = forMs): Promise<number> {
  let good = 0;
  let counted = 0;
  for (let at = 0; at < forMs; at += STEP_MS) {
    for (let i = 0; i < perStep; i++) {
      const counts = at >= forMs - lastMs;
      if (counts) counted++;
      void run().then((answered) => {
        if (answered && counts) good++;
      });
    }
    await vi.advanceTimersByTimeAsync(STEP_MS);
  }
  await vi.advanceTimersByTimeAsync(2_000);
  return good / counted;
}

test('10 x the load for 60 s at a tenth of the speed, then both gone: 90 % are served again within 30 s', async () => {
  const { bank, call } = bankOf(10);
  const rules: Partial<PolicyRules> = {
    timeout: { mode: 'fixed', ms: 1_000 },
    bulkhead: { maxInFlight: 40, maxWaiting: 40 },
    breaker: { ...defaultRules.breaker, slowMs: 800, openMs: 1_000, longestOpenMs: 8_000, rampMs: 5_000 },
  };
  const { policy } = policyOf(rules);
  const run = async () => (await policy.run(call, within(1_500))).kind === 'answered';

  expect(await offer(run, BASE_PER_STEP, 10_000)).toBe(1);
  bank.serviceMs = 100;
  await offer(run, BASE_PER_STEP * 10, 60_000);
  bank.serviceMs = 10;
  expect(await offer(run, BASE_PER_STEP, 30_000, 5_000)).toBeGreaterThanOrEqual(0.9);
  // What the bank has to work off is bounded by the bulkhead, not by the storm.
  expect(bank.deepest).toBeLessThanOrEqual(40);
  expect(policy.snapshot()).toMatchObject({ state: 'closed', inFlight: 0, waiting: 0 });
});
