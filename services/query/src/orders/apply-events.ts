// The effect of a batch of events, inside the consumer's transaction: the consumer (packages/events) has already dropped
// repeats, held what came early, and moved the positions, so every event here is the next one of its order.
import type { OrderEvent } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import { type Partitions, timeOf } from '../read-model/partitions.ts';
import { storeEvents } from './store-events.sql.ts';

/** The `apply` of a consumer. `applied` is told of every batch after its statements, before its commit. */
export function applyTo(partitions: Partitions, applied: (events: readonly OrderEvent[]) => void) {
  return async (trx: Knex.Transaction, events: readonly OrderEvent[]): Promise<void> => {
    const keptSince = await partitions.cover(events.map((event) => event.order_id));
    // An order past the retention has no partition any more: its events have no effect, as if applied and expired.
    const kept = events.filter((event) => timeOf(event.order_id) >= keptSince);
    const { last, all } = foldBatch(kept);
    if (all.length > 0) await storeEvents(trx, last, all);
    applied(events);
  };
}

/** The last event of each order, and all events of the batch, both in the order of the keys: locks are taken in it. */
function foldBatch(events: readonly OrderEvent[]): { last: OrderEvent[]; all: OrderEvent[] } {
  const byOrder = new Map<string, OrderEvent[]>();
  for (const event of events) {
    const story = byOrder.get(event.order_id);
    if (story === undefined) {
      byOrder.set(event.order_id, [event]);
      continue;
    }
    // Versions rise by one, except where a newer generation goes back: what it issues again never happened.
    while ((story.at(-1)?.version ?? 0) >= event.version) story.pop();
    story.push(event);
  }
  const stories = [...byOrder.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, story]) => story);
  return { last: stories.flatMap((story) => story.slice(-1)), all: stories.flat() };
}
