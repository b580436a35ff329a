// One test per sharp edge of bottleneck 2.19.5 (docs/facts.md, "bottleneck"): that it is there, and that it cannot be seen
// through our policy. That a pace is the pace it says: pacing.test.ts; memory and speed: npm run bench -- policy.
import Bottleneck from 'bottleneck';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { checkRules, defaultRules, type LimitRules, type PolicyRules } from '../src/index.ts';
import { held, ok, policyOf, settled, within } from './support/calls.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const rulesOf = (limit: LimitRules): Pick<PolicyRules, 'rate'> => ({
  rate: { mode: 'enforce', scope: 'cluster', warmUpMs: 0, limit },
});
const paced = (perSecond: number, maxWaiting = 1_000) => rulesOf({ algorithm: 'paced', perSecond, maxWaiting });

test('every job waits for timers, some 400 a second pass at the most; the hot path never goes there', async () => {
  let passed = 0;
  const theirs = new Bottleneck();
  void theirs.schedule(async () => passed++);
  await settled();
  expect(passed).toBe(0); // idle, unlimited, and still not at once

  const schedule = vi.spyOn(Bottleneck.prototype, 'schedule');
  const { policy } = policyOf(rulesOf({ algorithm: 'token_bucket', perSecond: 5_000, burst: 5_000 }));
  const results = await Promise.all(Array.from({ length: 200 }, () => policy.run(ok, within())));
  expect(results.every(({ kind }) => kind === 'answered')).toBe(true);
  expect(schedule).not.toHaveBeenCalled();
});

test('a pace faster than it can is refused when it is set', () => {
  expect(() => checkRules({ ...defaultRules, ...paced(201) })).toThrow('rate.limit.perSecond must be 0.001 to 200');
});

test('updateSettings() stops the refill for ever; a pace of ours goes on through any change', async () => {
  const theirs = new Bottleneck({
    reservoir: 1,
    reservoirRefreshAmount: 1,
    reservoirRefreshInterval: 250,
  });
  let passed = 0;
  theirs.updateSettings({ reservoir: 1 });
  for (let i = 0; i < 10; i++) void theirs.schedule(async () => passed++);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(passed).toBeLessThan(10);

  const { policy } = policyOf(paced(10));
  const ended: string[] = [];
  const ask = (times: number) => {
    for (let i = 0; i < times; i++) void policy.run(ok, within(60_000)).then(({ kind }) => ended.push(kind));
  };
  ask(5);
  await vi.advanceTimersByTimeAsync(1_000);
  policy.applyRules({ ...defaultRules, version: 2, ...paced(20) });
  policy.setShare(0.5);
  ask(5);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(ended).toEqual(Array(10).fill('answered'));
});

test('maxConcurrent: 0 rejects; nothing at once is no rule of ours, and no share is a refusal that explains itself', async () => {
  const theirs = new Bottleneck({ maxConcurrent: 0 });
  const rejected = expect(theirs.schedule(async () => 1)).rejects.toThrow();
  await vi.advanceTimersByTimeAsync(100);
  await rejected;

  expect(() => checkRules({ ...defaultRules, bulkhead: { maxInFlight: 0, maxWaiting: 0 } })).toThrow('1 to 10000');
  const { policy } = policyOf(paced(10));
  policy.setShare(0);
  expect(await policy.run(ok, within())).toMatchObject({
    kind: 'refused',
    refusal: { rule: 'rate', numbers: { share: 0 }, retryAfterMs: expect.any(Number) },
  });
});

test('highWater is not a bound for jobs that are being submitted; our line is one', async () => {
  const theirs = new Bottleneck({ minTime: 1_000, highWater: 3, strategy: Bottleneck.strategy.OVERFLOW });
  const dropped: unknown[] = [];
  for (let i = 0; i < 100; i++) void theirs.schedule(async () => 1).catch((error: unknown) => dropped.push(error));
  expect(dropped).toEqual([]); // all 100 are taken in before the first is counted

  const { policy } = policyOf(paced(1, 3));
  const results = Array.from({ length: 100 }, () => policy.run(ok, within(10_000)));
  await settled();
  const refused = vi.fn();
  for (const result of results) void result.then(({ kind }) => kind === 'refused' && refused());
  await settled();
  expect(refused).toHaveBeenCalledTimes(97);
  await vi.advanceTimersByTimeAsync(10_000);
});

test('a job cannot be cancelled and has no time-out in the queue; our callers are dropped at their deadline', async () => {
  const { policy } = policyOf(paced(1));
  await Promise.all([policy.run(ok, within(60_000)), vi.advanceTimersByTimeAsync(10)]);
  const impatient = policy.run(ok, within(200));
  const patient = policy.run(ok, within(5_000));
  await vi.advanceTimersByTimeAsync(200);
  expect(await impatient).toMatchObject({ kind: 'refused', refusal: { rule: 'rate' } });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await patient).toMatchObject({ kind: 'answered' }); // the turn of who left is not lost
});

test('expiration frees the slot while the work runs; a paced call of ours holds its slot until its work has ended', async () => {
  let atOnce = 0;
  const theirs = new Bottleneck({ maxConcurrent: 1 });
  const work = () => {
    atOnce++;
    return new Promise<never>(() => undefined);
  };
  for (let i = 0; i < 3; i++) void theirs.schedule({ expiration: 50 }, work).catch(() => undefined);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(atOnce).toBe(3);

  const { policy } = policyOf({
    ...paced(200),
    timeout: { mode: 'fixed', ms: 50 },
    bulkhead: { maxInFlight: 1, maxWaiting: 10 },
  });
  const ours = held();
  const results = [1, 2, 3].map(() => policy.run(ours.call, within(1_000)));
  await vi.advanceTimersByTimeAsync(1_000);
  await Promise.all(results);
  expect(ours.made).toBe(1);
});

test('a throwing error listener recurses until the stack overflows; ours is called once and heard of', async () => {
  const warn = vi.spyOn(process, 'emitWarning').mockReturnValue();
  const listener = () => {
    throw new Error('listener');
  };
  const { policy } = policyOf(paced(100), { listener });
  const result = policy.run(ok, within(20_000));
  await vi.advanceTimersByTimeAsync(100);
  expect(await result).toMatchObject({ kind: 'answered' });
  expect(warn).toHaveBeenCalledTimes(1);
});

test('each waiting job is held at 75 kB; of ours a handful are with bottleneck, however many wait', async () => {
  const schedule = vi.spyOn(Bottleneck.prototype, 'schedule');
  const { policy } = policyOf({ ...paced(1), bulkhead: { maxInFlight: 2_000, maxWaiting: 0 } });
  const results = Array.from({ length: 1_000 }, () => policy.run(ok, within(3_000)));
  await settled();
  expect(schedule.mock.calls.length).toBeLessThanOrEqual(8);
  await vi.advanceTimersByTimeAsync(3_000);
  await Promise.all(results);
});
