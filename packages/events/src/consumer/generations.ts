// A source database that failed over or was restored goes on in a newer generation, and may issue versions again that an
// older one had issued with other content. What a newer generation wrote takes the place of whatever an older one wrote
// under that version or a later one.
import type { OrderEvent } from '@ballast/contracts';
import { orderKey } from './next-in-order.ts';

export interface Generations {
  /** It was replaced by another one that is known. */
  isReplaced(event: OrderEvent): boolean;
}

/** The first version known of each generation, of one order. */
type FirstVersions = Map<number, number>;

/** `delivered`: everything that came together, also when it is applied in parts. */
export function readGenerations(delivered: readonly OrderEvent[], held: readonly OrderEvent[]): Generations {
  const known = haveOneGeneration(delivered, held) ? new Map<string, FirstVersions>() : indexOf(delivered, held);

  function isReplaced(event: OrderEvent): boolean {
    for (const [generation, version] of known.get(orderKey(event)) ?? [])
      if (generation > event.generation && version <= event.version) return true;
    return false;
  }

  return { isReplaced };
}

/** As good as always: then no event says anything about another. */
function haveOneGeneration(...events: readonly (readonly OrderEvent[])[]): boolean {
  const generation = events.find((some) => some.length > 0)?.[0]?.generation;
  return events.every((some) => some.every((event) => event.generation === generation));
}

function indexOf(delivered: readonly OrderEvent[], held: readonly OrderEvent[]): Map<string, FirstVersions> {
  const known = new Map<string, FirstVersions>();
  for (const event of [...delivered, ...held]) {
    const { version, generation } = event;
    const first: FirstVersions = known.get(orderKey(event)) ?? new Map();
    known.set(orderKey(event), first);
    first.set(generation, Math.min(version, first.get(generation) ?? version));
  }
  return known;
}
