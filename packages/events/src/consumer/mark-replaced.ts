// After a generation was raised, each order whose last event a lost history may have issued is to wait until the newer one
// has said what it is (docs/decisions/0017). They may be any number, so they are marked a slice at a time, each in a
// transaction of its own that stores how far it got, a little with each watermark and each question: other orders flow
// meanwhile, and a process that dies goes on where it was. Until the last slice no watermark of the source is proven; what
// comes late from the lost history meanwhile is marked as it comes (claimMoves).
import { withTransaction } from '@ballast/database';
import type { Knex } from 'knex';
import type { ConsumerOptions } from './consumer.ts';
import { failureOf } from './failures.ts';
import { lockUnmarked, markNext, markSome, storeMarkedUpTo } from './replaced.sql.ts';
import { readWatermarks } from './watermarks.sql.ts';

export interface Marker {
  /** There is something to mark. */
  begin(): void;
  /** Marks on for a moment. Never rejects: what fails is tried again with the next watermark, and nothing is proven before. */
  goOn(): Promise<void>;
}

/** A slice is as many orders as take about so long: it holds the locks of those that it marks. */
const SLICE_MS = 100;
const FIRST_SLICE = 10_000;
const SMALLEST_SLICE = 100;
const LARGEST_SLICE = 50_000;
/** By then it takes longer to find those that are left by their time than to look at all orders. */
const FINDING_LIMIT_MS = 1_000;
/** Deliveries have at least half of the time, however many watermarks come: twelve a second by a topic. */
const LONGEST_MS = 500;
const SHORTEST_REST_MS = 100;

export function openMarker({ name, knex, logger, onWatermark }: ConsumerOptions): Marker {
  /** Another process may have left something. */
  let unmarked = true;
  /** Undefined: those that are to be marked are found by their time, as long as they are few; else all orders are looked at. */
  let slice: number | undefined;
  let endedAt = Number.NEGATIVE_INFINITY;

  async function goOn(): Promise<void> {
    const rested = performance.now() - endedAt;
    if (!unmarked || rested < SHORTEST_REST_MS) return;
    const until = performance.now() + Math.min(rested, LONGEST_MS);
    try {
      while (unmarked && performance.now() < until) await markSlice();
    } catch (error) {
      logger.warn(
        { err: error },
        'orders of a lost history could not be marked; tried again, and nothing is proven before',
      );
    }
    endedAt = unmarked ? performance.now() : Number.NEGATIVE_INFINITY;
  }

  async function markSlice(): Promise<void> {
    const began = performance.now();
    try {
      unmarked = await withTransaction(knex, `${name} marks`, markInTransaction);
      const tookMs = performance.now() - began;
      if (!unmarked) slice = undefined;
      else if (slice !== undefined) slice = tookMs < SLICE_MS ? larger(slice) : smaller(slice);
      else if (tookMs > FINDING_LIMIT_MS) lookAtAll();
    } catch (error) {
      if (failureOf(error) !== 'smaller') throw error;
      if (slice === undefined) lookAtAll();
      else slice = smaller(slice);
    }
  }

  function lookAtAll(): void {
    logger.warn({}, 'many orders are to be marked that a lost history may have changed: all are looked at');
    slice = FIRST_SLICE;
  }

  /** False: nothing is left. With the last slice what was told meanwhile is proven. */
  async function markInTransaction(trx: Knex.Transaction): Promise<boolean> {
    const next = await lockUnmarked(trx);
    if (next === undefined) return false;
    if (slice === undefined) {
      if (await markSome(trx, next, FIRST_SLICE)) return true;
      await storeMarkedUpTo(trx, next, null);
    } else {
      const upTo = await markNext(trx, next, slice);
      await storeMarkedUpTo(trx, next, upTo);
      if (upTo !== null) return true;
    }
    for (const mark of await readWatermarks(trx)) if (mark.source === next.source) await onWatermark?.(trx, mark);
    return true;
  }

  return {
    begin: () => {
      unmarked = true;
    },
    goOn,
  };
}

function larger(slice: number): number {
  return Math.min(LARGEST_SLICE, slice * 2);
}

function smaller(slice: number): number {
  return Math.max(SMALLEST_SLICE, Math.floor(slice / 2));
}
