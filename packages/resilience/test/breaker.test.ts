// The breaker under a clock of our own: times are numbers, nothing waits.
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { type Breaker, type BreakerChange, createBreaker, type Permit } from '../src/breaker.ts';
import { type BreakerRules, defaultRules } from '../src/index.ts';

const rules: BreakerRules = {
  ...defaultRules.breaker,
  minimumCalls: 4,
  failureRate: 0.5,
  slowMs: 1_000,
  slowRate: 0.5,
  openMs: 100,
  longestOpenMs: 400,
  probes: 2,
  probeLeaseMs: 1_000,
  rampMs: 0,
};
/** opossum counts an outcome in a later turn of the microtask queue. */
const counted = () => new Promise((resolve) => setImmediate(resolve));
const opened: Breaker[] = [];
let clock = 0;

function breakerOf(change: Partial<BreakerRules> = {}, maxInFlight = 16, changes: BreakerChange[] = []): Breaker {
  clock = 0;
  const breaker = createBreaker({
    rules: { ...rules, ...change },
    maxInFlight: () => maxInFlight,
    now: () => clock,
    onChange: (of) => changes.push(of),
  });
  opened.push(breaker);
  return breaker;
}

function permitOf(breaker: Breaker, now: number): Permit {
  clock = now;
  const permit = breaker.permit(now);
  if (typeof permit === 'number') throw new Error(`no permit for ${permit} ms`);
  return permit;
}

function report(breaker: Breaker, failed: boolean, now: number, durationMs = 1): void {
  breaker.report(permitOf(breaker, now), failed, durationMs, now);
}

async function ill(breaker: Breaker): Promise<Breaker> {
  for (let i = 0; i < 4; i++) report(breaker, true, 0);
  await counted();
  expect(breaker.state).toBe('open');
  return breaker;
}

afterEach(() => {
  for (const breaker of opened.splice(0)) breaker.close();
});

describe('closed', () => {
  test('opens at its failure rate, not before its minimum of calls, and says why', async () => {
    const changes: BreakerChange[] = [];
    const breaker = breakerOf({}, 16, changes);
    for (let i = 0; i < 3; i++) report(breaker, true, 0);
    await counted();
    expect(breaker.state).toBe('closed');
    report(breaker, true, 0);
    await counted();
    expect(breaker.state).toBe('open');
    expect(breaker.permit(99)).toBe(1);
    expect(changes).toEqual([
      { from: 'closed', to: 'open', why: '4 of 4 calls failed', numbers: expect.objectContaining({ calls: 4 }) },
    ]);
  });

  test('opens when too many calls are slow, although all succeed', async () => {
    const breaker = breakerOf();
    for (let i = 0; i < 4; i++) report(breaker, false, 0, i < 2 ? 1_000 : 999);
    await counted();
    expect(breaker.state).toBe('open');
    expect(breaker.why).toBe('2 of 4 calls were slow');
  });

  test('forgets what is older than its window', async () => {
    const breaker = breakerOf({ windowMs: 10_000 });
    for (let i = 0; i < 3; i++) report(breaker, true, 0);
    await counted();
    clock = 10_000;
    report(breaker, true, 10_000);
    await counted();
    expect(breaker.counts(10_000)).toEqual({ calls: 1, failures: 1, slow: 0 });
    expect(breaker.state).toBe('closed');
  });

  test('calls in flight are in no rate: only what ended counts', async () => {
    const breaker = breakerOf();
    for (let i = 0; i < 100; i++) permitOf(breaker, 0);
    for (let i = 0; i < 4; i++) report(breaker, true, 0);
    await counted();
    expect(breaker.state).toBe('open');
  });
});

describe('half-open', () => {
  test('gives out no more probes than it may, and ends only when that many succeeded', async () => {
    const breaker = await ill(breakerOf());
    const [first, second] = [permitOf(breaker, 100), permitOf(breaker, 100)];
    expect(breaker.permit(100)).toEqual(expect.any(Number));
    breaker.report(first, false, 10, 110);
    expect(breaker.state).toBe('half_open');
    expect(breaker.permit(110)).toEqual(expect.any(Number));
    breaker.report(second, false, 10, 110);
    expect(breaker.state).toBe('closed');
  });

  test('a success that began before it opened does not close it', async () => {
    const breaker = breakerOf();
    const stale = permitOf(breaker, 0);
    await ill(breaker);
    permitOf(breaker, 100);
    breaker.report(stale, false, 101, 101);
    expect(breaker.state).toBe('half_open');
  });

  test('a probe that was slow opens it again like one that failed', async () => {
    const breaker = await ill(breakerOf());
    report(breaker, false, 100, 1_000);
    expect(breaker.state).toBe('open');
    expect(breaker.why).toBe('a probe was slow');
  });

  test('stays open longer each time a probe fails, up to the longest', async () => {
    const breaker = await ill(breakerOf());
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

  test('a probe that never reports loses its lease, and its late word counts for nothing', async () => {
    const breaker = await ill(breakerOf({ probes: 1 }));
    const lost = permitOf(breaker, 100);
    expect(breaker.permit(1_099)).toEqual(expect.any(Number));
    const next = permitOf(breaker, 1_100);
    breaker.report(lost, true, 1_050, 1_150);
    expect(breaker.state).toBe('half_open');
    breaker.report(next, false, 10, 1_160);
    expect(breaker.state).toBe('closed');
  });

  test('a probe that reports after its lease counts for nothing, also when nobody asked meanwhile', async () => {
    const breaker = await ill(breakerOf({ probes: 1 }));
    breaker.report(permitOf(breaker, 100), true, 1_000, 1_100);
    expect(breaker.state).toBe('half_open');
  });

  test('a call that was never made gives its probe back', async () => {
    const breaker = await ill(breakerOf());
    for (let i = 0; i < 10; i++) breaker.cancel(permitOf(breaker, 100));
  });
});

describe('after the probes', () => {
  test('begins with an empty window', async () => {
    const breaker = await ill(breakerOf());
    report(breaker, false, 100);
    report(breaker, false, 100);
    expect(breaker.state).toBe('closed');
    report(breaker, true, 101);
    await counted();
    expect(breaker.state).toBe('closed');
  });

  test('calls at once grow from the probes to the bulkhead by a constant factor', async () => {
    const breaker = await ill(breakerOf({ rampMs: 1_000 }, 128));
    report(breaker, false, 100);
    report(breaker, false, 100);
    expect(breaker.state).toBe('recovering');
    const allowedAt = (now: number) => {
      const out: Permit[] = [];
      for (let permit = breaker.permit(now); typeof permit !== 'number'; permit = breaker.permit(now)) out.push(permit);
      for (const permit of out) breaker.cancel(permit);
      return out.length;
    };
    expect([100, 600, 1_099].map(allowedAt)).toEqual([2, 16, 127]);
    permitOf(breaker, 1_100);
    expect(breaker.state).toBe('closed');
  });

  test('a relapse on the ramp opens it for longer than the first time', async () => {
    const breaker = await ill(breakerOf({ rampMs: 1_000 }));
    report(breaker, false, 100);
    report(breaker, false, 100);
    for (let i = 0; i < 4; i++) report(breaker, true, 200);
    await counted();
    expect(breaker.state).toBe('open');
    expect(breaker.permit(200)).toBe(200);
  });

  test('what began on the ramp still counts when the ramp is over', async () => {
    const breaker = await ill(breakerOf({ rampMs: 1_000 }));
    report(breaker, false, 100);
    report(breaker, false, 100);
    const begun = permitOf(breaker, 1_000);
    for (let i = 0; i < 3; i++) report(breaker, true, 1_100);
    expect(breaker.state).toBe('closed');
    breaker.report(begun, true, 150, 1_150);
    await counted();
    expect(breaker.state).toBe('open');
  });
});

describe('an operator', () => {
  test('may probe now, or close now, which still ramps up', async () => {
    const breaker = await ill(breakerOf({ rampMs: 1_000 }));
    expect(breaker.permit(1)).toEqual(expect.any(Number));
    breaker.probeNow(1);
    permitOf(breaker, 1);
    expect(breaker.state).toBe('half_open');
    breaker.closeNow(2);
    expect(breaker.state).toBe('recovering');
  });

  test('may change other rules while it is open: it stays open', async () => {
    const breaker = await ill(breakerOf());
    breaker.setRules({ ...rules, failureRate: 0.9, windowMs: 20_000 }, 10);
    expect(breaker.permit(50)).toBe(50);
  });
});

test('whatever happens in whatever order, there are never more probes out than N, and no permit leaks', async () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('ask' as const) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('end' as const), failed: fc.boolean(), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), which: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 300 }) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 150 }), async (probes, steps) => {
      const breaker = breakerOf({ probes, minimumCalls: 1, probeLeaseMs: 500 });
      let now = 0;
      let out: { permit: Permit; half: boolean; since: number }[] = [];
      for (const of of steps) {
        clock = now;
        if (of.kind === 'wait') now += of.ms;
        if (of.kind === 'ask') {
          const permit = breaker.permit(now);
          if (typeof permit !== 'number') out.push({ permit, half: breaker.state === 'half_open', since: now });
        }
        if ((of.kind === 'end' || of.kind === 'cancel') && out.length > 0) {
          const [chosen] = out.splice(of.which % out.length, 1);
          if (chosen !== undefined && of.kind === 'end') breaker.report(chosen.permit, of.failed, 1, now);
          if (chosen !== undefined && of.kind === 'cancel') breaker.cancel(chosen.permit);
        }
        await Promise.resolve();
        if (breaker.state !== 'half_open') out = out.map((held) => ({ ...held, half: false }));
        const live = out.filter((held) => held.half && held.since + 500 > now);
        expect(live.length).toBeLessThanOrEqual(probes);
      }
      for (const { permit } of out) breaker.cancel(permit);
      await counted();
      now += 10_000;
      clock = now;
      // Nothing holds a place for ever: whatever state it is in, it can still be closed again.
      for (let i = 0; i < probes; i++) report(breaker, false, now);
      expect(breaker.state).toBe('closed');
    }),
    { numRuns: 200 },
  );
});
