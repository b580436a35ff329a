// A caller that asks before its call: a yes holds, and a place that nobody used is there for the next.
import { expect, test, vi } from 'vitest';
import { defaultRules, type Reservation } from '../src/index.ts';
import { bad, held, ok, policyOf, settled, within } from './support/calls.ts';

const breaker = { ...defaultRules.breaker, minimumCalls: 1, openMs: 10, longestOpenMs: 10, probes: 3, rampMs: 10_000 };

/** Open, and due to probe. */
async function probing(rules = {}) {
  let now = 0;
  const made = policyOf({ breaker, ...rules }, { now: () => now });
  await made.policy.run(bad, { deadline: 1_000 });
  await settled();
  expect(made.policy.snapshot().state).toBe('open');
  now = 10;
  return { ...made, at: (ms: number) => (now = ms) };
}

const isPlace = (reserved: object): reserved is Reservation => 'giveBack' in reserved;

test('half-open, as many callers are told yes as may probe, and each of them goes through', async () => {
  const { policy } = await probing();
  const asked = Array.from({ length: 100 }, () => policy.reserve());
  const places = asked.filter(isPlace);
  expect(places).toHaveLength(3);
  expect(asked.filter((one) => !isPlace(one))).toMatchObject(Array(97).fill({ rule: 'breaker' }));
  // Somebody who did not ask finds no place.
  expect(await policy.run(ok, { deadline: 1_000 })).toMatchObject({ kind: 'refused', refusal: { rule: 'breaker' } });
  const calls = places.map((reservation) => policy.run(ok, { deadline: 1_000, reservation }));
  for (const result of await Promise.all(calls)) expect(result).toMatchObject({ kind: 'answered' });
  expect(policy.snapshot().state).toBe('recovering');
});

test('while it recovers, places that were promised count', async () => {
  const { policy } = await probing();
  await Promise.all(Array.from({ length: 3 }, () => policy.run(ok, { deadline: 1_000 })));
  const places = Array.from({ length: 100 }, () => policy.reserve()).filter(isPlace);
  expect(places).toHaveLength(3);
  for (const place of places) place.giveBack();
  expect(Array.from({ length: 100 }, () => policy.reserve()).filter(isPlace)).toHaveLength(3);
});

test('a place is given back once, however often that is said, and not by whoever used it', async () => {
  const { policy } = await probing();
  const [first, second, third] = Array.from({ length: 3 }, () => policy.reserve()).filter(isPlace);
  first?.giveBack();
  first?.giveBack();
  const work = held();
  void policy.run(work.call, { deadline: 1_000, ...(second === undefined ? {} : { reservation: second }) });
  second?.giveBack();
  expect(Array.from({ length: 5 }, () => policy.reserve()).filter(isPlace)).toHaveLength(1);
  expect(third).toBeDefined();
  // Given back already: it is a caller like any other now.
  const late = policy.run(ok, { deadline: 1_000, ...(first === undefined ? {} : { reservation: first }) });
  expect(await late).toMatchObject({ kind: 'refused', refusal: { rule: 'breaker' } });
});

test('a place from before the breaker moved on is none: it asks anew, and is refused where it is open', async () => {
  const { policy, at } = await probing();
  const [one, two] = Array.from({ length: 2 }, () => policy.reserve()).filter(isPlace);
  await policy.run(bad, { deadline: 1_000, ...(one === undefined ? {} : { reservation: one }) });
  expect(policy.snapshot().state).toBe('open');
  const call = vi.fn(ok);
  const reservation = two === undefined ? {} : { reservation: two };
  expect(await policy.run(call, { deadline: 1_000, ...reservation })).toMatchObject({ kind: 'refused' });
  expect(call).not.toHaveBeenCalled();
  at(20);
  expect(isPlace(policy.reserve())).toBe(true);
});

test('where the line or the limit is full nothing is kept', async () => {
  const full = { maxInFlight: 1, maxWaiting: 0 };
  const { policy } = await probing({ bulkhead: full });
  const work = held();
  const running = policy.run(work.call, { deadline: 1_000 });
  expect(policy.reserve()).toMatchObject({ rule: 'bulkhead' });
  work.end();
  await running;
  expect(Array.from({ length: 5 }, () => policy.reserve()).filter(isPlace)).toHaveLength(2);
});

test('closed, it costs nobody anything', async () => {
  const { policy } = policyOf();
  const places = Array.from({ length: 1_000 }, () => policy.reserve());
  expect(places.every(isPlace)).toBe(true);
  expect(await policy.run(ok, within())).toMatchObject({ kind: 'answered' });
});
