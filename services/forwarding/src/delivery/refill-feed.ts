// One round of reading the journal: everything that a feed's snapshot does not see is delivered, up to a new snapshot.
import type { Journal } from '../journal/journal.ts';
import type { Place, Tail } from '../tail/tail.ts';
import type { InJournal } from './reading.ts';
import type { Kept, Run } from './run.ts';

export interface RefillOptions {
  readonly journal: Journal;
  readonly tail: Tail;
  readonly run: Run;
  /** Everything visible in it was delivered. */
  kept(): Kept;
  /** Each order's events in their order (journal.ts). */
  readonly ascending: boolean;
  readonly here: InJournal;
  /** The feed has no other plans. */
  still(): boolean;
  /** It has everything up to there. `place`: where it may go on in the log, held until this returns. */
  onThrough(kept: Kept, place: Place | undefined): void;
}

export async function refillFeed(options: RefillOptions): Promise<{ readonly events: number } | undefined> {
  const { journal, tail, run, kept, ascending, here, still, onThrough } = options;
  const since = kept().snapshot;
  if (!(await run.deliver([], kept(), still))) return undefined; // it begins before anything comes in it
  const brought = tail.brought();
  const refill = await journal.refill(since, ascending);
  const { blocks, until, at } = refill;
  const place = tail.hold(until.xmin);
  let events = 0;
  try {
    Object.assign(here, { blocks, blocksLeft: blocks });
    for await (const piece of refill.pieces()) {
      events += piece.events.length;
      const perBlock = events / Math.max(1, blocks - piece.blocksLeft);
      // Known before it is delivered: a subscriber that takes nothing lacks no less.
      Object.assign(here, { lacked: Math.round(perBlock * here.blocksLeft), brought });
      if (!(await run.deliver(piece.events, kept(), still))) return undefined;
      here.blocksLeft = piece.blocksLeft;
      here.lacked = Math.round(perBlock * here.blocksLeft);
    }
    if (!(await run.deliver(refill.watermarks, kept(), still))) return undefined;
    run.hasDeliveredUpTo(at);
    Object.assign(here, { blocksLeft: 0, lacked: 0, brought });
    onThrough({ snapshot: until, at }, place);
    return { events };
  } finally {
    if (place !== undefined) tail.giveBack(place);
  }
}
