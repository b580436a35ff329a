// A source database that failed over or was restored goes on in a newer generation, and may issue versions again that an
// older one had issued with other content. What one event says about another then, of the same order:
//
//   a newer generation wrote this version, or one before it     → this event never happened
//   the version before it is an older generation's, and both
//   came in one delivery: in the order of one log, or from the
//   journal, which holds the newest history only               → it follows that one, and nothing is missing between
import type { OrderEvent } from '@ballast/contracts';
import { orderKey, type Place } from './next-in-order.ts';

export interface Generations {
  /** It was replaced by another one that is known. */
  isReplaced(event: OrderEvent): boolean;
  /** It may be the first of its generation to be applied after `last`; false: its generation may have written before it. */
  mayFollow(event: OrderEvent, last: Place): boolean;
}

interface OfOrder {
  /** The first version known of each generation. */
  readonly first: Map<number, number>;
  /** The newest generation of each version, of what was delivered. */
  readonly delivered: Map<number, number>;
}

/** `delivered`: everything that came together, also when it is applied in parts. What is held proves no neighbourhood. */
export function readGenerations(delivered: readonly OrderEvent[], held: readonly OrderEvent[]): Generations {
  const known = haveOneGeneration(delivered, held) ? new Map<string, OfOrder>() : indexOf(delivered, held);
  const together = new Set(delivered);

  function isReplaced(event: OrderEvent): boolean {
    for (const [generation, version] of known.get(orderKey(event))?.first ?? [])
      if (generation > event.generation && version <= event.version) return true;
    return false;
  }

  function mayFollow(event: OrderEvent, last: Place): boolean {
    if (event.version === 1) return true;
    if (!together.has(event)) return false;
    const before = known.get(orderKey(event))?.delivered.get(event.version - 1);
    return before !== undefined && before < event.generation && before <= last.generation;
  }

  return { isReplaced, mayFollow };
}

/** As good as always: then no event says anything about another. */
function haveOneGeneration(...events: readonly (readonly OrderEvent[])[]): boolean {
  const generation = events.find((some) => some.length > 0)?.[0]?.generation;
  return events.every((some) => some.every((event) => event.generation === generation));
}

function indexOf(delivered: readonly OrderEvent[], held: readonly OrderEvent[]): Map<string, OfOrder> {
  const known = new Map<string, OfOrder>();
  for (const events of [delivered, held])
    for (const event of events) {
      const { version, generation } = event;
      const order = known.get(orderKey(event)) ?? { first: new Map(), delivered: new Map() };
      known.set(orderKey(event), order);
      order.first.set(generation, Math.min(version, order.first.get(generation) ?? version));
      if (events === delivered)
        order.delivered.set(version, Math.max(generation, order.delivered.get(version) ?? generation));
    }
  return known;
}
