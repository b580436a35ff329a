// Once a second, while this forwarder holds the source's slot: a watermark is written, a checkpoint is taken, and what was
// right at the start is looked at again (a publication can be dropped, a slot can fall behind, a generation be raised).
import type pg from 'pg';
import type { Checkpoint } from '../delivery/feed.ts';
import { readLogEnd, readSnapshot } from '../journal/journal.sql.ts';
import { openClockOffset } from '../source/clock-offset.ts';
import { parseLsn } from '../source/lsn.ts';
import { parseSnapshot } from '../source/pg-snapshot.ts';
import type { History, Mark } from '../source/remembered.ts';
import {
  findUnguarded,
  insertWatermark,
  type Publication,
  pruneWatermarks,
  readPublication,
  readSlot,
  readWatermarkValue,
  type Slot,
} from '../source/source.sql.ts';
import { readHistory } from './history.sql.ts';

export interface Beat {
  readonly checkpoint: Checkpoint;
  /** So much of the log outlives a crash. */
  readonly flushed: number;
  readonly history: History;
  readonly slot: Slot | null;
  readonly publication: Publication;
  /** Null: none could be written. */
  readonly watermark: { readonly mark: Mark['watermark']; readonly value: string } | null;
  /** Why not, if the publication is as it was known. */
  readonly held: string | null;
  readonly unguarded: string | null;
  /** Source's clock minus ours, ms. */
  readonly clockOffset: number;
}

export interface HeartbeatOptions {
  readonly client: pg.ClientBase;
  readonly node: string;
  readonly slot: string;
  readonly publication: string;
  /** Of the publication, as it was found right. */
  readonly state: string;
}

/** An hour's worth: whoever looks at the table sees the last hour. */
const KEEP_WATERMARKS = 3_600;
const PRUNE_EVERY_BEATS = 60;

const PREPARED = 'a prepared transaction keeps watermarks back';
const HIDDEN = 'this role lacks pg_read_all_stats and does not see what transactions others have open: watermarks wait';
const CLOCK_BEHIND = 'the clock of the source is behind what it was: watermarks wait until it is there again';

/** One beat at a time; rejects when the source is away. */
export function openHeartbeat({ client, node, slot, publication, state }: HeartbeatOptions): () => Promise<Beat> {
  let beats = 0;
  const offset = openClockOffset();
  return async () => {
    // First: what is written to another history than the one that was judged would hide that it is another.
    const history = await readHistory(client);
    const { value, prepared, hidden } = await readWatermarkValue(client);
    const unknown = hidden ? HIDDEN : prepared ? PREPARED : null;
    const mark = unknown === null ? await insertWatermark(client, { node, value, publication, state }) : null;
    if (beats++ % PRUNE_EVERY_BEATS === 0) await pruneWatermarks(client, KEEP_WATERMARKS);
    const sent = Date.now();
    const { text, at, clock } = await readSnapshot(client);
    const clockOffset = offset.heard(clock, sent, Date.now());
    const { inserted, flushed } = await readLogEnd(client);
    return {
      checkpoint: { snapshot: parseSnapshot(text), lsn: parseLsn(inserted), at },
      flushed: parseLsn(flushed),
      history,
      slot: await readSlot(client, slot),
      publication: await readPublication(client, publication),
      watermark: mark === null ? null : { mark, value },
      held: unknown ?? (mark === null ? CLOCK_BEHIND : null),
      unguarded: await findUnguarded(client, slot),
      clockOffset,
    };
  };
}
