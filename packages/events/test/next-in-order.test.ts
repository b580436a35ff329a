import { type OrderEvent, SNAPSHOT } from '@ballast/contracts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readGenerations } from '../src/consumer/generations.ts';
import { NOTHING_YET, orderKey, type Plan, type Position, planDelivery } from '../src/consumer/next-in-order.ts';
import { newOrderId, orderEvent } from './support/events.ts';

function planned(
  delivered: readonly OrderEvent[],
  positions: ReadonlyMap<string, Position>,
  held: readonly OrderEvent[] = [],
): Plan {
  return planDelivery([...delivered, ...held], positions, readGenerations(delivered, held));
}

test('whatever arrives how often and in which order, each version is planned once and ascending', () => {
  const orders = [newOrderId(), newOrderId(), newOrderId()];
  const arrivals = fc.array(fc.record({ order: fc.nat(2), version: fc.integer({ min: 1, max: 6 }) }), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(arrivals, fc.integer({ min: 1, max: 10 }), (all, size) => {
      const positions = new Map<string, Position>();
      const held = new Map<string, ReturnType<typeof orderEvent>>();
      const applied = new Map<string, number[]>();
      for (let at = 0; at < all.length; at += size) {
        const batch = all.slice(at, at + size).map(({ order, version }) => orderEvent(orders[order] ?? '', version));
        const plan = planned(batch, positions, [...held.values()]);
        for (const event of plan.next)
          applied.set(event.order_id, [...(applied.get(event.order_id) ?? []), event.version]);
        for (const { key, generation, version } of plan.moves)
          positions.set(key, { generation, version, waitsFor: null });
        held.clear();
        for (const event of plan.early) held.set(event.id, event);
      }
      for (const order of orders) {
        const sent = new Set(all.filter((one) => orders[one.order] === order).map((one) => one.version));
        let contiguous = 0;
        while (sent.has(contiguous + 1)) contiguous++;
        expect(applied.get(order) ?? []).toEqual(Array.from({ length: contiguous }, (_, index) => index + 1));
      }
    }),
  );
});

test('an event of an older generation is a repeat, whatever its version', () => {
  const event = orderEvent(newOrderId(), 9, { generation: 1 });
  const plan = planned([event], new Map([[orderKey(event), { generation: 2, version: 3, waitsFor: null }]]));
  expect(plan).toMatchObject({ next: [], repeated: [event], early: [] });
});

test('a version issued again by a newer generation is a fork back to it', () => {
  const [before, event] = restoredBefore(4);
  const plan = planned([before, event], new Map([[orderKey(event), { generation: 1, version: 6, waitsFor: null }]]));
  expect(plan).toMatchObject({ next: [event], repeated: [before] });
  expect(plan.forks).toMatchObject([{ order_id: event.order_id, generation: 2, from_version: 4, to_version: 6 }]);
});

test('a newer generation that simply goes on is no fork', () => {
  const [before, event] = restoredBefore(4);
  const plan = planned([before, event], new Map([[orderKey(event), { generation: 1, version: 3, waitsFor: null }]]));
  expect(plan).toMatchObject({ next: [event], forks: [] });
});

test.each([3, 4, 5])('applied up to %i, nothing says that a newer generation begins with version 4', (version) => {
  const [before, event] = restoredBefore(4);
  const position = new Map([[orderKey(event), { generation: 1, version, waitsFor: null }]]);
  expect(planned([event], position)).toMatchObject({ next: [], early: [event] });
  expect(planned([before], position, [event])).toMatchObject({ next: [], early: [event] }); // it came alone before
});

test('a generation that follows another newer one is not taken before it', () => {
  const [, second] = restoredBefore(2);
  const third = orderEvent(second.order_id, 3, { generation: 3 });
  const position = new Map([[orderKey(third), { generation: 1, version: 5, waitsFor: null }]]);
  expect(planned([second, third], position)).toMatchObject({ next: [], early: [second, third] });
});

test('what a newer event that is only held has replaced is a repeat, held or not', () => {
  const [, newer] = restoredBefore(4);
  const [late, later] = [orderEvent(newer.order_id, 4), orderEvent(newer.order_id, 5)];
  const third = orderEvent(newer.order_id, 3);
  const position = new Map([[orderKey(newer), { generation: 1, version: 1, waitsFor: 'gap' as const }]]);
  const plan = planned([late], position, [third, newer, later]);
  expect(plan).toMatchObject({ next: [], repeated: [late, later], early: [third, newer] });
});

test('nothing passes a parked order', () => {
  const event = orderEvent(newOrderId(), 1);
  const plan = planned([event], new Map([[orderKey(event), { ...NOTHING_YET, waitsFor: 'parked' }]]));
  expect(plan).toMatchObject({ next: [], early: [event], moves: [] });
});

/** The last event of generation 1 that a restore kept, and the first one of the next generation. */
describe('a snapshot', () => {
  const snapshotOf = (order: string, version: number, generation = 1) =>
    orderEvent(order, version, { generation, type: SNAPSHOT });
  const at = (event: OrderEvent, generation: number, version: number, waitsFor: Position['waitsFor'] = null) =>
    new Map([[orderKey(event), { generation, version, waitsFor }]]);

  test.each([0, 2, 4])('is next for an order that has got to %i, whatever is missing before it', (version) => {
    const event = snapshotOf(newOrderId(), 5);
    const plan = planned([event], version === 0 ? new Map() : at(event, 1, version));
    expect(plan).toMatchObject({ next: [event], early: [], forks: [], moves: [{ generation: 1, version: 5 }] });
  });

  test.each([5, 6])('is a repeat for an order that has got to %i', (version) => {
    const event = snapshotOf(newOrderId(), 5);
    expect(planned([event], at(event, 1, version))).toMatchObject({ next: [], repeated: [event] });
  });

  test('takes what is held before it away, and what is held after it goes on', () => {
    const order = newOrderId();
    const event = snapshotOf(order, 5);
    const [third, fifth, sixth] = [orderEvent(order, 3), orderEvent(order, 5), orderEvent(order, 6)];
    for (const delivered of [
      [third, fifth, sixth, event],
      [event, sixth, fifth, third],
    ]) {
      const plan = planned(delivered, at(event, 1, 1, 'gap'));
      expect(plan).toMatchObject({ next: [event, sixth], early: [] });
      expect(new Set(plan.repeated)).toEqual(new Set([third, fifth]));
    }
  });

  test('of a newer generation replaces everything that was applied', () => {
    const event = snapshotOf(newOrderId(), 5, 2);
    const plan = planned([event], at(event, 1, 3));
    expect(plan).toMatchObject({ next: [event], forks: [{ generation: 2, from_version: 1, to_version: 3 }] });
    expect(planned([event], at(event, 3, 3))).toMatchObject({ next: [], repeated: [event] });
  });

  test('waits behind a parked event as everything does', () => {
    const event = snapshotOf(newOrderId(), 5);
    expect(planned([event], at(event, 1, 3, 'parked'))).toMatchObject({ next: [], early: [event] });
  });
});

function restoredBefore(version: number): [OrderEvent, OrderEvent] {
  const order = newOrderId();
  return [orderEvent(order, version - 1), orderEvent(order, version, { generation: 2 })];
}
