import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Call, checkDrill, type DrillPlan, type DrillReport, type Fault } from '../src/index.ts';
import { bad, ok, policyOf, within } from './support/calls.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const plan: DrillPlan = {
  id: 'drl_1',
  fault: { kind: 'timeout' },
  share: 0.25,
  traffic: 'all',
  durationMs: 10_000,
  stopWhen: { minimumCalls: 10, failureRate: null, slowestMs: null, breakerOpens: false },
};

function drilled(of: Partial<DrillPlan> = {}) {
  const { policy, events } = policyOf();
  policy.startDrill({ ...plan, ...of });
  const faults: (Fault | null)[] = [];
  const call: Call<string> = async (context) => {
    faults.push(context.fault);
    return context.fault === null ? ok(context) : bad(context);
  };
  const report = (): DrillReport | undefined =>
    events.flatMap((event) => (event.kind === 'drill_ended' ? [event.report] : []))[0];
  const run = async (times: number, coloured = false) => {
    for (let i = 0; i < times; i++) await policy.run(call, { ...within(), coloured });
  };
  return { policy, faults, report, run };
}

describe('a drill', () => {
  test('hits its share of the calls and no more', async () => {
    const { faults, run } = drilled();
    await run(100);
    expect(faults.filter((fault) => fault !== null)).toHaveLength(25);
  });

  test('may be for coloured traffic only', async () => {
    const { faults, run } = drilled({ traffic: 'coloured', share: 1 });
    await run(10);
    await run(5, true);
    expect(faults.map((fault) => fault?.kind ?? 'none')).toEqual([
      ...Array(10).fill('none'),
      ...Array(5).fill('timeout'),
    ]);
  });

  test('ends by itself when its time is over, also when no call comes by, with a report', async () => {
    const { faults, policy, report, run } = drilled({ share: 1 });
    await run(4);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(report()).toEqual({
      id: 'drl_1',
      fault: 'timeout',
      endedBy: 'duration',
      passed: true,
      why: 'its time is over',
      ranMs: 10_000,
      calls: 4,
      hit: 4,
      failed: 4,
      refused: 0,
      slowestMs: 0,
      breakerOpened: 0,
    });
    expect(policy.snapshot().drill).toBeNull();
    await run(1);
    expect(faults.at(-1)).toBeNull();
  });

  test('ends by the monotonic clock: one that jumps changes nothing, and no timer is needed', async () => {
    let now = 0;
    const { policy, events } = policyOf({}, { now: () => now });
    policy.startDrill({ ...plan, share: 1 });
    vi.setSystemTime(Date.now() + 3_600_000);
    const seen: (Fault | null)[] = [];
    const call: Call<string> = async (context) => {
      seen.push(context.fault);
      return ok(context);
    };
    await policy.run(call, { deadline: now + 1_000 });
    now = 10_000;
    await policy.run(call, { deadline: now + 1_000 });
    expect(seen.map((fault) => fault !== null)).toEqual([true, false]);
    expect(events.filter(({ kind }) => kind === 'drill_ended')).toHaveLength(1);
  });

  test.each<[string, Partial<DrillPlan['stopWhen']>, string]>([
    ['too many calls fail', { failureRate: 0.2 }, 'calls failed'],
    ['its breaker opens', { breakerOpens: true }, 'the circuit breaker opened'],
  ])('ends early when %s, and has not passed', async (_, stopWhen, why) => {
    const { report, run } = drilled({ share: 1, stopWhen: { ...plan.stopWhen, ...stopWhen } });
    await run(40);
    expect(report()).toMatchObject({ endedBy: 'stop_condition', passed: false, why: expect.stringContaining(why) });
  });

  test('is ended by an operator, by another drill, and by the end of the channel; each time with one report', async () => {
    const byOperator = drilled();
    byOperator.policy.stopDrill('enough seen');
    expect(byOperator.report()).toMatchObject({ endedBy: 'operator', why: 'enough seen', passed: false });
    const replaced = drilled();
    replaced.policy.startDrill({ ...plan, id: 'drl_2' });
    expect(replaced.report()).toMatchObject({ id: 'drl_1', endedBy: 'replaced' });
    expect(replaced.policy.snapshot().drill?.id).toBe('drl_2');
    replaced.policy.close();
    const closed = drilled();
    closed.policy.close();
    expect(closed.report()).toMatchObject({ endedBy: 'closed' });
  });

  test('has no way to be on in a process that just started', () => {
    expect(policyOf().policy.snapshot().drill).toBeNull();
  });

  test.each<[string, Partial<DrillPlan>]>([
    ['share', { share: 0 }],
    ['durationMs', { durationMs: Number.POSITIVE_INFINITY }],
    ['fault.status', { fault: { kind: 'server_error', status: 404 } }],
    ['fault.kind', { fault: { kind: 'explosion' } as unknown as Fault }],
  ])('with a wrong %s is refused', (name, change) => {
    expect(() => checkDrill({ ...plan, ...change })).toThrow(`${name} must be`);
  });
});
