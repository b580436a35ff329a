// A source that was restored once: the old database wrote on, the new one issued versions again. Whatever arrives from
// either, in which order and how often, what an order has in the end is what the new one's journal says.
import type { OrderEvent } from '@ballast/contracts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readGenerations } from '../src/consumer/generations.ts';
import { isBehind, NOTHING_YET, orderKey, type Place, planDelivery } from '../src/consumer/next-in-order.ts';
import { newOrderId, orderEvent } from './support/events.ts';

const MOST_FILLS = 10;
const orderId = newOrderId();

const history = fc
  .record({ old: fc.integer({ min: 1, max: 6 }), kept: fc.nat(6), fresh: fc.integer({ min: 1, max: 5 }) })
  .map(({ old, kept, fresh }) => {
    const before = Array.from({ length: old }, (_, index) => orderEvent(orderId, index + 1));
    const restored = before.slice(0, Math.min(kept, old));
    const after = Array.from({ length: fresh }, (_, index) =>
      orderEvent(orderId, restored.length + index + 1, { generation: 2 }),
    );
    return { before, newest: [...restored, ...after], log: [...before, ...after] };
  });

/** Each delivery is of one database, in any order; or of a topic that both wrote to, in that order. */
const scene = history.chain(({ before, newest, log }) => {
  const stretch = fc
    .tuple(fc.nat(log.length), fc.nat(log.length))
    .map(([a, b]) => log.slice(Math.min(a, b), Math.max(a, b)));
  const some = (events: OrderEvent[]) => fc.array(fc.constantFrom(...events), { maxLength: 8 });
  return fc.record({
    newest: fc.constant(newest),
    deliveries: fc.array(fc.oneof(some(before), some(newest), stretch), { maxLength: 12 }),
  });
});

/** The consumer without its database. */
function openModel() {
  let place: Place = NOTHING_YET;
  let seen: Place = NOTHING_YET;
  let held: OrderEvent[] = [];
  let told: OrderEvent[] = [];

  function deliver(delivered: readonly OrderEvent[]): void {
    const positions = new Map([[orderKey({ source: 'collection', order_id: orderId }), { ...place, waitsFor: null }]]);
    const plan = planDelivery([...delivered, ...held], positions, readGenerations(delivered, held));
    for (const event of plan.next) told = [...told.filter((one) => one.version < event.version), event];
    place = plan.moves[0] ?? place;
    held = [...new Map(plan.early.map((event) => [event.id, event])).values()];
    for (const event of plan.early) if (isBehind(seen, event)) seen = event;
  }

  /** As readOpenGaps asks. */
  function openGap(): { after: number; before: number } | undefined {
    if (!isBehind(place, seen)) return undefined;
    if (place.version > 0 && seen.generation > place.generation) return { after: 0, before: seen.version + 1 };
    const ahead = held.map((event) => event.version).filter((version) => version > place.version);
    return { after: place.version, before: Math.max(place.version + 2, Math.min(seen.version + 1, ...ahead)) };
  }

  return { deliver, openGap, held: () => held, told: () => told.map((event) => event.id) };
}

test('whatever comes late from the old database, an order ends as the restored one tells it', () => {
  fc.assert(
    fc.property(scene, ({ newest, deliveries }) => {
      const model = openModel();
      for (const delivery of deliveries) model.deliver(delivery);
      for (const event of newest) model.deliver([event]);
      for (let fills = 0; fills < MOST_FILLS; fills++) {
        const gap = model.openGap();
        if (gap === undefined) break;
        model.deliver(newest.filter(({ version }) => version > gap.after && version < gap.before));
      }
      expect(model.told()).toEqual(newest.map((event) => event.id));
      expect(model.openGap()).toBeUndefined();
      expect(model.held()).toEqual([]);
    }),
    { numRuns: 2_000 },
  );
});
