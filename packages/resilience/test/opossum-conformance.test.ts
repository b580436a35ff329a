// One test per sharp edge of opossum 10 (docs/facts.md, "opossum"): first that the edge is really there, so that this file says
// when it has gone, then that none of it can be seen through our policy.
import CircuitBreaker from 'opossum';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { defaultRules } from '../src/index.ts';
import { bad, held, never, notSent, ok, policyOf, settled, within } from './support/calls.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const reason = 'test';
const breaker = { ...defaultRules.breaker, minimumCalls: 4, openMs: 1_000, probes: 2, rampMs: 0 };
const raw: CircuitBreaker<[action: () => Promise<unknown>], unknown>[] = [];
const rawOf = (options: CircuitBreaker.Options = {}) => {
  const made = new CircuitBreaker((action: () => Promise<unknown>) => action(), {
    timeout: false,
    resetTimeout: 1_000,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
    ...options,
  });
  raw.push(made);
  return made;
};
const fails = async () => {
  throw new Error('bank');
};
afterEach(() => {
  for (const made of raw.splice(0)) made.shutdown();
});

async function opened() {
  const made = policyOf({ breaker });
  for (let i = 0; i < 4; i++) await made.policy.run(bad, within());
  await settled();
  expect(made.policy.snapshot().state).toBe('open');
  return made;
}

describe('overrides', () => {
  test('open() half-opens by itself; our forced open holds', async () => {
    const theirs = rawOf();
    theirs.open();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(theirs.halfOpen).toBe(true);

    const { policy } = policyOf({ breaker });
    policy.setGate({ mode: 'forced_open', reason });
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'refused', refusal: { rule: 'gate' } });
  });

  test('disable() switches timeout, capacity and statistics off; our forced closed leaves limits and timeout on', async () => {
    const theirs = rawOf({ timeout: 100, capacity: 1 });
    theirs.disable();
    let ended = 0;
    for (let i = 0; i < 3; i++) void theirs.fire(() => new Promise(() => undefined)).catch(() => ended++);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(ended).toBe(0);

    const { policy } = policyOf({ timeout: { mode: 'fixed', ms: 100 }, bulkhead: { maxInFlight: 1, maxWaiting: 0 } });
    policy.setGate({ mode: 'forced_closed', reason });
    const first = policy.run(never, within());
    expect(await policy.run(ok, within())).toMatchObject({ refusal: { rule: 'bulkhead' } });
    await vi.advanceTimersByTimeAsync(100);
    expect(await first).toMatchObject({ kind: 'abandoned', reason: 'timeout' });
  });
});

describe('statistics', () => {
  test('percentiles sort every latency on every failure; ours never sorts and adds the window up once', async () => {
    const theirs = rawOf({ rollingPercentilesEnabled: true, volumeThreshold: 1_000 });
    const sort = vi.spyOn(Array.prototype, 'sort');
    for (let i = 0; i < 10; i++) await theirs.fire(fails).catch(() => undefined);
    expect(sort.mock.calls.length).toBeGreaterThanOrEqual(10);

    const { policy } = policyOf({ breaker: { ...breaker, minimumCalls: 100_000 } });
    sort.mockClear();
    const reduce = vi.spyOn(Array.prototype, 'reduce');
    await Promise.all(Array.from({ length: 100 }, () => policy.run(bad, within())));
    expect(sort).not.toHaveBeenCalled();
    expect(reduce.mock.calls.length).toBeLessThanOrEqual(4);
    vi.restoreAllMocks();
  });

  test('counts survive closing; our window begins anew', async () => {
    const theirs = rawOf({ volumeThreshold: 4 });
    for (let i = 0; i < 4; i++) await theirs.fire(fails).catch(() => undefined);
    theirs.close();
    await theirs.fire(fails).catch(() => undefined);
    expect(theirs.opened).toBe(true);

    const { policy } = await opened();
    await vi.advanceTimersByTimeAsync(1_000);
    for (let i = 0; i < 2; i++) await policy.run(ok, within());
    await policy.run(bad, within());
    await settled();
    expect(policy.snapshot().state).toBe('closed');
  });

  test('the rate divides by all fires, in flight included; ours by what has ended', async () => {
    const theirs = rawOf({ errorThresholdPercentage: 50 });
    for (let i = 0; i < 100; i++) void theirs.fire(() => new Promise(() => undefined));
    for (let i = 0; i < 10; i++) await theirs.fire(fails).catch(() => undefined);
    expect(theirs.opened).toBe(false);

    const { policy } = policyOf({ breaker });
    for (let i = 0; i < 100; i++) void policy.run(never, within());
    for (let i = 0; i < 4; i++) await policy.run(bad, within());
    await settled();
    expect(policy.snapshot().state).toBe('open');
  });

  test('a bulkhead rejection counts as a failure; a refusal of ours is never an outcome of the bank', async () => {
    const theirs = rawOf({ capacity: 1 });
    void theirs.fire(() => new Promise(() => undefined));
    await theirs.fire(async () => 1).catch(() => undefined);
    expect(theirs.stats.failures).toBe(1);

    const { policy } = policyOf({ breaker, bulkhead: { maxInFlight: 1, maxWaiting: 0 } });
    const work = held();
    const first = policy.run(work.call, within());
    for (let i = 0; i < 100; i++) await policy.run(ok, within());
    expect(policy.snapshot()).toMatchObject({ state: 'closed', window: { calls: 0, failures: 0 } });
    work.end();
    await first;
  });
});

describe('half-open', () => {
  test('any stale success closes it; ours knows to which state a call belongs', async () => {
    const theirs = rawOf();
    let end: (value: unknown) => void = () => undefined;
    const stale = theirs.fire(() => new Promise((resolve) => (end = resolve)));
    theirs.open();
    await vi.advanceTimersByTimeAsync(1_000);
    end('late');
    await stale;
    expect(theirs.closed).toBe(true);

    const { policy } = policyOf({ breaker });
    const work = held();
    const slow = policy.run(work.call, within());
    for (let i = 0; i < 4; i++) await policy.run(bad, within());
    await settled();
    await vi.advanceTimersByTimeAsync(1_000);
    const probe = policy.run(held().call, within());
    work.end();
    await slow;
    expect(policy.snapshot().state).toBe('half_open');
    await vi.advanceTimersByTimeAsync(60_000);
    await probe;
  });

  test('a filtered error closes it; technical trouble of ours opens it again, sent or not', async () => {
    const theirs = rawOf({ errorFilter: () => true });
    theirs.open();
    await vi.advanceTimersByTimeAsync(1_000);
    await theirs.fire(fails).catch(() => undefined);
    expect(theirs.closed).toBe(true);

    for (const trouble of [bad, notSent]) {
      const { policy } = await opened();
      await vi.advanceTimersByTimeAsync(1_000);
      await policy.run(trouble, within());
      expect(policy.snapshot().state).toBe('open');
    }
  });

  test('there is one probe; ours gives as many as the rules say, and needs as many successes', async () => {
    const theirs = rawOf();
    theirs.open();
    await vi.advanceTimersByTimeAsync(1_000);
    void theirs.fire(() => new Promise(() => undefined));
    await expect(theirs.fire(async () => 1)).rejects.toThrow('Breaker is open');

    const { policy } = await opened();
    await vi.advanceTimersByTimeAsync(1_000);
    const work = held();
    const probes = [policy.run(work.call, within()), policy.run(work.call, within())];
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'refused' });
    work.end();
    await settled();
    expect(policy.snapshot().state).toBe('half_open');
    work.end();
    await Promise.all(probes);
    expect(policy.snapshot().state).toBe('closed');
  });
});

describe('listeners', () => {
  test('a throwing success listener turns a paid call into a rejection, a throwing fire listener into a throw; ours never', async () => {
    const theirs = rawOf();
    theirs.on('success', () => {
      throw new Error('listener');
    });
    await expect(theirs.fire(async () => 'paid')).rejects.toThrow('listener');
    const other = rawOf();
    other.on('fire', () => {
      throw new Error('listener');
    });
    expect(() => other.fire(async () => 'paid')).toThrow('listener');

    vi.spyOn(process, 'emitWarning').mockReturnValue();
    const listener = () => {
      throw new Error('listener');
    };
    const { policy } = policyOf({}, { listener });
    expect(await policy.run(ok, within())).toMatchObject({ kind: 'answered', value: 'ok' });
    expect(process.emitWarning).toHaveBeenCalled();
    vi.restoreAllMocks();
  });
});

describe('timeouts', () => {
  test('a result after the timeout vanishes, and the timeout frees the slot while the work goes on; ours does neither', async () => {
    const theirs = rawOf({ timeout: 10, capacity: 2, errorThresholdPercentage: 100, volumeThreshold: 1_000 });
    let atOnce = 0;
    for (let i = 0; i < 5; i++) {
      for (let j = 0; j < 2; j++)
        void theirs
          .fire(() => {
            atOnce++;
            return new Promise(() => undefined);
          })
          .catch(() => undefined);
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(atOnce).toBe(10);

    const { policy, events } = policyOf({
      timeout: { mode: 'fixed', ms: 10 },
      bulkhead: { maxInFlight: 2, maxWaiting: 0 },
      breaker: { ...breaker, minimumCalls: 1_000 },
    });
    const work = held();
    for (let i = 0; i < 5; i++) {
      for (let j = 0; j < 2; j++) void policy.run(work.call, within());
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(work.made).toBe(2);
    work.end({ kind: 'success', value: 'approved after all' });
    await settled();
    expect(events).toContainEqual(expect.objectContaining({ kind: 'late', value: 'approved after all' }));
  });

  test('one AbortController per breaker: a timeout aborts its siblings; ours has one per call, made when asked for', async () => {
    const abortController = new AbortController();
    const theirs = rawOf({ timeout: 10, abortController });
    await theirs
      .fire(() => vi.advanceTimersByTimeAsync(10).then(() => new Promise(() => undefined)))
      .catch(() => undefined);
    expect(abortController.signal.aborted).toBe(true); // for every call to come, too

    const { policy } = policyOf({ timeout: { mode: 'fixed', ms: 100 } });
    const signals: AbortSignal[] = [];
    const call = (context: Parameters<typeof never>[0]) => {
      signals.push(context.signal);
      return never(context);
    };
    void policy.run(call, within());
    await vi.advanceTimersByTimeAsync(99);
    void policy.run(call, within());
    await vi.advanceTimersByTimeAsync(1);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  });
});

describe('what is shared, restored or left behind', () => {
  test('options that two breakers share mix their calls up; rules that two policies share do not', async () => {
    const options = { coalesce: true, coalesceTTL: 1_000, coalesceSize: 10, timeout: false } as CircuitBreaker.Options;
    const bankA = new CircuitBreaker(async (reference: string) => `A ${reference}`, options);
    const bankB = new CircuitBreaker(async (reference: string) => `B ${reference}`, options);
    raw.push(bankA as never, bankB as never);
    // The later breaker's cache replaces the earlier one's in the shared object.
    expect(await bankB.fire('1')).toBe('B 1');
    expect(await bankA.fire('1')).toBe('B 1');

    const [ours, others] = [policyOf(), policyOf()];
    const answer = (value: string) => async () => ({ kind: 'success', value }) as const;
    const [a, b] = await Promise.all([
      ours.policy.run(answer('A'), within()),
      others.policy.run(answer('B'), within()),
    ]);
    expect([a, b]).toMatchObject([{ value: 'A' }, { value: 'B' }]);
  });

  test('a health check re-opens a breaker that was shut down; a closed policy leaves no timer and tells nothing', async () => {
    const theirs = rawOf();
    theirs.healthCheck(fails, 10);
    theirs.shutdown();
    await vi.advanceTimersByTimeAsync(20);
    expect(theirs.isShutdown).toBe(false);
    vi.clearAllTimers();

    const { policy, events } = policyOf({ breaker: { ...breaker, minimumCalls: 1 } });
    const work = held();
    const result = policy.run(work.call, within());
    policy.startDrill({
      id: 'drl_1',
      fault: { kind: 'reset' },
      share: 1,
      traffic: 'all',
      durationMs: 60_000,
      stopWhen: { minimumCalls: 1, failureRate: null, slowestMs: null, breakerOpens: false },
    });
    policy.close();
    work.end({ kind: 'technical', value: 'bad' });
    await result;
    expect(events.filter(({ kind }) => kind === 'state')).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('toJSON() restores a window that is not the configured one; ours is never restored and follows its rules', async () => {
    const { status } = rawOf({ rollingCountTimeout: 60_000 }).toJSON();
    const theirs = rawOf({ rollingCountTimeout: 60_000, status: status as never });
    await theirs.fire(async () => 1);
    await vi.advanceTimersByTimeAsync(15_000);
    expect(theirs.stats.successes).toBe(0); // forgotten after 10 s, not 60

    const { policy } = policyOf({ breaker: { ...breaker, windowMs: 1_000 } });
    policy.applyRules({ ...defaultRules, breaker: { ...breaker, windowMs: 60_000 } });
    await policy.run(ok, within());
    await vi.advanceTimersByTimeAsync(50_000);
    expect(policy.snapshot().window.calls).toBe(1);
  });
});
