// The limiters' arithmetic under a clock of our own: no window of any length exceeds its bound.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createCounter } from '../src/counter.ts';
import type { RateRules } from '../src/index.ts';
import { createKeyedLimits } from '../src/keyed-limits.ts';
import { createLeakyBucket } from '../src/leaky-bucket.ts';
import type { Meter } from '../src/meter.ts';
import { createMeter, factorOf } from '../src/meters.ts';
import { createTokenBucket } from '../src/token-bucket.ts';

const arrivals = fc.array(fc.oneof(fc.constant(0), fc.double({ min: 0, max: 60, noNaN: true })), {
  minLength: 20,
  maxLength: 400,
});
const factors = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 });

/** The times at which calls leave, in order. */
function leave(meter: Meter, gaps: readonly number[], factorAt: (index: number) => number, patienceMs = 100): number[] {
  let now = 0;
  const left: number[] = [];
  for (const [index, gap] of gaps.entries()) {
    now += gap;
    const wait = meter.take(now, factorAt(index), patienceMs);
    if (wait >= 0) left.push(now + wait);
  }
  return left.sort((a, b) => a - b);
}

/** Every window that begins and ends with a call: no other can hold more. */
function worstExcess(left: readonly number[], allowed: (lengthMs: number) => number): number {
  let worst = Number.NEGATIVE_INFINITY;
  for (let from = 0; from < left.length; from++)
    for (let to = from; to < left.length; to++)
      worst = Math.max(worst, to - from + 1 - allowed((left[to] ?? 0) - (left[from] ?? 0)));
  return worst;
}

const ROUNDING = 1e-3;

test('what is left is what can be taken at once, in every limiter, whatever was taken before', () => {
  fc.assert(
    fc.property(arrivals, fc.double({ min: 0, max: 1, noNaN: true }), (gaps, factor) => {
      for (const meter of [createTokenBucket(50, 20), createLeakyBucket(50, 20), createCounter(20, 400)]) {
        let now = 0;
        for (const gap of gaps) {
          now += gap;
          meter.take(now, factor, Number.POSITIVE_INFINITY);
        }
        const left = meter.left(now, factor);
        let taken = 0;
        while (taken <= left && meter.take(now, factor, Number.POSITIVE_INFINITY) >= 0) taken++;
        expect(taken).toBe(left);
      }
    }),
  );
});

describe('no window of any length holds more than', () => {
  test('burst + rate x length in a token bucket, while its share moves', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5_000 }),
        fc.integer({ min: 1, max: 50 }),
        arrivals,
        factors,
        (perSecond, burst, gaps, shares) => {
          const most = Math.max(...shares);
          const left = leave(createTokenBucket(perSecond, burst), gaps, (i) => shares[i % shares.length] ?? 0);
          const bound = (ms: number) => Math.max(1, burst * most) + (ms * perSecond * most) / 1_000;
          expect(worstExcess(left, bound)).toBeLessThanOrEqual(ROUNDING);
        },
      ),
    );
  });

  test('1 + rate x length in a leaky bucket, while its share moves', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5_000 }), arrivals, factors, (perSecond, gaps, shares) => {
        const most = Math.max(...shares);
        const left = leave(createLeakyBucket(perSecond, 10), gaps, (i) => shares[i % shares.length] ?? 0);
        expect(worstExcess(left, (ms) => 1 + (ms * perSecond * most) / 1_000)).toBeLessThanOrEqual(ROUNDING);
      }),
    );
  });

  test('its number of calls in a counter, wherever the window begins', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 500 }),
        arrivals,
        (calls, window, gaps) => {
          const left = leave(createCounter(calls, window), gaps, () => 1);
          const bound = (ms: number) => (ms < window - ROUNDING ? calls : Number.POSITIVE_INFINITY);
          expect(worstExcess(left, bound)).toBeLessThanOrEqual(0);
        },
      ),
    );
  });
});

describe('a limiter gives what it promises', () => {
  /** Twice the offer, at random times that are the same on every run. */
  function offered(perSecond: number, seconds: number): number[] {
    let seed = 42;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return (seed + 1) / (2 ** 31 + 1);
    };
    return Array.from({ length: perSecond * 2 * seconds }, () => (random() * 1_000) / perSecond);
  }

  test.each([500, 5_000])(
    '%d/s to a thousandth at twice the offer, the busiest 100 ms at most 1.1 x fair',
    (perSecond) => {
      const burst = perSecond / 125;
      const gaps = offered(perSecond, 20);
      const span = gaps.reduce((sum, gap) => sum + gap, 0);
      for (const meter of [createTokenBucket(perSecond, burst), createLeakyBucket(perSecond, burst)]) {
        const left = leave(meter, gaps, () => 1);
        expect(Math.abs(left.length / ((span / 1_000) * perSecond) - 1)).toBeLessThanOrEqual(0.001);
        let from = 0;
        let busiest = 0;
        for (const [to, time] of left.entries()) {
          while (time - (left[from] ?? 0) >= 100) from++;
          busiest = Math.max(busiest, to - from + 1);
        }
        expect(busiest / (perSecond / 10)).toBeLessThanOrEqual(1.1);
      }
    },
  );

  test('a counter passes all it may, and again as soon as the first has left the window', () => {
    const counter = createCounter(100, 1_000);
    const passed = (now: number) => Array.from({ length: 200 }, () => counter.take(now, 1, 0)).filter((w) => w === 0);
    expect(passed(0)).toHaveLength(100);
    expect(counter.take(999, 1, 0)).toBeCloseTo(-1);
    expect(passed(1_000)).toHaveLength(100);
  });

  test('a leaky bucket gives each call the next turn, and none to whoever cannot wait for it', () => {
    const bucket = createLeakyBucket(10, 2);
    expect([1_000, 1_000, 1_000, 1_000].map((patience) => bucket.take(0, 1, patience))).toEqual([0, 100, 200, -100]);
    expect(bucket.take(150, 1, 100)).toBe(-50);
    expect(bucket.take(150, 1, 150)).toBe(150);
  });

  test.each([
    [{ algorithm: 'token_bucket', perSecond: 10, burst: 3 }],
    [{ algorithm: 'leaky_bucket', perSecond: 10, maxWaiting: 0 }],
    [{ algorithm: 'counter', calls: 3, windowMs: 1_000 }],
    [{ algorithm: 'paced', perSecond: 10, maxWaiting: 0 }],
  ] as const)(
    '%j gives back what was not used, remembers nothing for ever, and passes nothing without a share',
    (limit) => {
      const meter = createMeter(limit);
      while (meter.take(0, 1, 0) === 0);
      meter.giveBack(1);
      expect(meter.peek(0, 1, 0)).toBe(0);
      expect(meter.take(0, 1, 0)).toBe(0);
      expect(meter.take(0, 1, 0)).toBeLessThan(0);
      expect(meter.isIdle(0)).toBe(false);
      expect(meter.isIdle(1_000)).toBe(true);
      expect(meter.take(1_000, 0, 0)).toBeLessThan(0);
    },
  );
});

describe('the part of a limit that holds now', () => {
  const rules: RateRules = {
    mode: 'enforce',
    scope: 'cluster',
    limit: { algorithm: 'token_bucket', perSecond: 300, burst: 1 },
    warmUpMs: 1_000,
  };

  test('is the leased share, where the scope is the cluster', () => {
    expect(factorOf({ ...rules, warmUpMs: 0 }, 0.25, 0)).toBe(0.25);
    expect(factorOf({ ...rules, warmUpMs: 0, scope: 'instance' }, 0.25, 0)).toBe(1);
  });

  test('grows from a third to the whole while warming up', () => {
    expect([0, 500, 1_000, 5_000].map((age) => factorOf(rules, 1, age).toFixed(3))).toEqual([
      '0.333',
      '0.667',
      '1.000',
      '1.000',
    ]);
  });
});

describe('limits per key', () => {
  const rules: RateRules = {
    mode: 'enforce',
    scope: 'instance',
    limit: { algorithm: 'token_bucket', perSecond: 1, burst: 1 },
    warmUpMs: 0,
  };

  test('hold for each key by itself', () => {
    const limits = createKeyedLimits(rules, 0);
    expect([limits.take('a', 0), limits.take('b', 0), limits.take('a', 0)]).toEqual([0, 0, 1_000]);
  });

  test('are bounded in memory: keys that remember nothing are forgotten first, then the longest known', () => {
    const limits = createKeyedLimits(rules, 0);
    for (let i = 0; i < 10_000; i++) limits.take(`idle ${i}`, 0);
    limits.take('new', 1_000);
    expect(limits.size).toBe(1);
    for (let i = 0; i < 25_000; i++) limits.take(`busy ${i}`, 1_000);
    expect(limits.size).toBeLessThanOrEqual(10_000);
    expect(limits.peek('busy 24999', 1_000)).toBe(1_000);
  });

  test('of the same numbers keep what was taken through a change of mode', () => {
    const limits = createKeyedLimits(rules, 0);
    limits.take('a', 0);
    limits.setRules({ ...rules, mode: 'alarm_only' });
    expect(limits.peek('a', 0)).toBe(1_000);
    limits.setRules({ ...rules, limit: { algorithm: 'token_bucket', perSecond: 2, burst: 1 } });
    expect(limits.peek('a', 0)).toBe(0);
  });
});
