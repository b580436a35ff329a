// bottleneck behind our port, and the limiter that waits for turns: under a virtual clock.
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RateRules } from '../src/index.ts';
import { createLimiter } from '../src/limiter.ts';
import { createPacer } from '../src/pacer.ts';

const now = () => performance.now();
beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const paced = (perSecond: number, maxWaiting: number): RateRules => ({
  mode: 'enforce',
  scope: 'cluster',
  limit: { algorithm: 'paced', perSecond, maxWaiting },
  warmUpMs: 0,
});

/** The virtual times at which those who asked all at once got their turn. */
async function turns(perSecond: number, callers: number, forMs: number): Promise<number[]> {
  const pacer = createPacer(perSecond, callers, now);
  const times: number[] = [];
  for (let i = 0; i < callers; i++)
    void Promise.resolve(pacer.turn(now() + 1e9, now(), 1)).then((came) => came && times.push(now()));
  await vi.advanceTimersByTimeAsync(forMs);
  return times;
}

/** bottleneck keeps its cadence with timers of whole milliseconds: a turn may come this much before it, and the next after. */
const JITTER_MS = 2;

test.each([50, 200])('a pace of %d/s is that pace: no window holds more, no turn is lost', async (perSecond) => {
  const times = await turns(perSecond, perSecond * 3, 2_000);
  let worst = 0;
  for (let from = 0; from < times.length; from++)
    for (let to = from; to < times.length; to++) {
      const lengthMs = (times[to] ?? 0) - (times[from] ?? 0) + JITTER_MS;
      worst = Math.max(worst, to - from + 1 - (1 + (lengthMs * perSecond) / 1_000));
    }
  expect(worst).toBeLessThanOrEqual(0);
  expect(times.length).toBeGreaterThanOrEqual(perSecond * 2 * 0.99);
});

test('its line is bounded exactly, and whoever waits is dropped at its own deadline', async () => {
  const pacer = createPacer(1, 2, now);
  const first = pacer.turn(now() + 10, now(), 1);
  await vi.advanceTimersByTimeAsync(10);
  expect(await first).toBe(true);
  const dropped = pacer.turn(now() + 100, now(), 1);
  const patient = pacer.turn(now() + 5_000, now(), 1);
  expect(pacer.turn(now() + 5_000, now(), 1)).toBe(false);
  await vi.advanceTimersByTimeAsync(100);
  expect(await dropped).toBe(false);
  expect(pacer.waiting).toBe(1);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await patient).toBe(true);
});

test('a share that moves changes the pace at once, and never lets a turn come too soon', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.double({ min: 0.1, max: 1, noNaN: true }), { maxLength: 10 }), async (shares) => {
      const pacer = createPacer(100, 1_000, now);
      const times: number[] = [];
      for (const share of [1, ...shares]) {
        for (let i = 0; i < 5; i++) {
          void Promise.resolve(pacer.turn(now() + 1e9, now(), share)).then((came) => came && times.push(now()));
          await vi.advanceTimersByTimeAsync(7);
        }
      }
      await vi.advanceTimersByTimeAsync(10_000);
      expect(times).toHaveLength(5 * (shares.length + 1));
      for (const [index, time] of times.slice(1).entries())
        expect(time - (times[index] ?? 0)).toBeGreaterThanOrEqual(10 - JITTER_MS);
    }),
    { numRuns: 30 },
  );
});

test('rules that change go on at once, also from a pace of a turn in a quarter of an hour', async () => {
  const limiter = createLimiter(paced(0.001, 10), now);
  const first = limiter.take(now(), now() + 1e9);
  await vi.advanceTimersByTimeAsync(10);
  expect(await first).toBe(true);
  const waiting = limiter.take(now(), now() + 1e9);
  await vi.advanceTimersByTimeAsync(5_000);
  limiter.setRules(paced(100, 10));
  await vi.advanceTimersByTimeAsync(10);
  expect(await waiting).toEqual(expect.any(Number)); // turned away, not forgotten
  const next = limiter.take(now(), now() + 1e9);
  await vi.advanceTimersByTimeAsync(50);
  expect(await next).toBe(true);
});

test('a leaky bucket holds each call back until its turn, never a moment less', async () => {
  const limiter = createLimiter(
    { ...paced(1, 1), limit: { algorithm: 'leaky_bucket', perSecond: 300, maxWaiting: 100 } },
    now,
  );
  const start = now();
  const times: number[] = [];
  for (let i = 0; i < 50; i++)
    void Promise.resolve(limiter.take(now(), now() + 1e6)).then((turn) => turn === true && times.push(now()));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(times).toHaveLength(50);
  for (const [index, time] of times.entries())
    expect(time - start).toBeGreaterThanOrEqual((index * 1_000) / 300 - 1e-6);
});
