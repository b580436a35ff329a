// What becomes of each event, decided from the position of its order. A pure function, so that it can be tried against
// every order of arrival.
//
//   generation older than the position's        → repeat (a database that was replaced wrote it)
//   same generation, version ≤ last             → repeat
//   version = last + 1                          → next
//   version > last + 1                          → early: held, and the gap before it reported
//   newer generation, version ≤ last            → next, and a fork: what was applied from this version on was written by
//                                                 a database that failed over or was restored, and never happened
//   newer generation, nothing says that it is   → early: held, and the whole order asked for, so that it comes together
//   that generation's first (generations.ts)      with the one before it
//   replaced by a newer generation's            → repeat, also while that one is held
//   any, the order is parked                    → early: held behind the parked event
//
// A snapshot stands for all versions up to its own: it is next, whatever is missing before it. One of a newer generation
// replaces everything applied: nobody knows any more where in the order that generation began.
import { type OrderEvent, SNAPSHOT } from '@ballast/contracts';
import type { Generations } from './generations.ts';

/** Where an event stands among all of its order, and how far an order has got. */
export interface Place {
  readonly generation: number;
  readonly version: number;
}

export interface Position extends Place {
  readonly waitsFor: 'gap' | 'parked' | null;
}

/** An order whose applied history was replaced: the subscriber undoes versions `from` to `to` before going on. */
export interface Fork {
  readonly source: string;
  readonly merchant_id: string;
  readonly order_id: string;
  readonly from_version: number;
  readonly to_version: number;
  readonly generation: number;
}

export interface Move extends Place {
  readonly key: string;
  readonly sample: OrderEvent;
  readonly before: Position;
}

export interface Plan {
  /** To apply, in the order they came (an order's own events always ascending). */
  readonly next: readonly OrderEvent[];
  readonly repeated: readonly OrderEvent[];
  readonly early: readonly OrderEvent[];
  readonly forks: readonly Fork[];
  /** One for each order that goes forward. */
  readonly moves: readonly Move[];
}

export const NOTHING_YET: Position = { generation: 0, version: 0, waitsFor: null };

/** The key of an order among all sources. */
export function orderKey(event: { readonly source: string; readonly order_id: string }): string {
  return `${event.order_id} ${event.source}`;
}

/** A newer generation stands behind nothing that an older one wrote. */
export function isBehind(place: Place, other: Place): boolean {
  return (
    place.generation < other.generation || (place.generation === other.generation && place.version < other.version)
  );
}

export function planDelivery(
  events: readonly OrderEvent[],
  positions: ReadonlyMap<string, Position>,
  generations: Generations,
): Plan {
  const reached = new Map<string, Place>();
  const waiting = new Map<string, OrderEvent[]>();
  const samples = new Map<string, OrderEvent>();
  const next: OrderEvent[] = [];
  const repeated: OrderEvent[] = [];
  const forks: Fork[] = [];

  function place(event: OrderEvent, key: string): boolean {
    const before = positions.get(key) ?? NOTHING_YET;
    const last = reached.get(key) ?? before;
    if (!isBehind(last, event) || generations.isReplaced(event)) {
      repeated.push(event);
      return true;
    }
    if (before.waitsFor === 'parked') return false;
    const replacesFrom = event.type === SNAPSHOT ? 1 : event.version;
    if (event.type !== SNAPSHOT) {
      if (event.version > last.version + 1) return false;
      if (event.generation > last.generation && !generations.mayFollow(event, last)) return false;
    }
    if (event.generation > last.generation && replacesFrom <= last.version) {
      const { source, merchant_id, order_id, generation } = event;
      forks.push({ source, merchant_id, order_id, generation, from_version: replacesFrom, to_version: last.version });
    }
    next.push(event);
    samples.set(key, event);
    reached.set(key, { generation: event.generation, version: event.version });
    return true;
  }

  for (const event of events) {
    const key = orderKey(event);
    if (place(event, key)) continue;
    const others = waiting.get(key);
    if (others === undefined) waiting.set(key, [event]);
    else others.push(event);
  }

  // What came before its turn may have its turn by now.
  const early: OrderEvent[] = [];
  for (const [key, held] of waiting) {
    held.sort((a, b) => a.version - b.version || a.generation - b.generation);
    for (const event of held) if (!place(event, key)) early.push(event);
  }

  const moves = [...reached].map(([key, { generation, version }]) => {
    const sample = samples.get(key);
    if (sample === undefined) throw new Error('BUG: an order moved without an event');
    return { key, sample, before: positions.get(key) ?? NOTHING_YET, generation, version };
  });
  return { next, repeated, early, forks, moves };
}
