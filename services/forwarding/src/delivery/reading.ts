// Where a feed stands (feed.ts): in the tail of the log, or in the journal.
import { type PgSnapshot, sees } from '../source/pg-snapshot.ts';
import type { Tail, TailEntry } from '../tail/tail.ts';

export type Reading = InLog | InJournal;

export interface InLog {
  readonly from: 'log';
  cursor: number;
  /** It came here then; monotonic clock, ms. */
  readonly since: number;
  /** Everything visible in it was delivered from the journal, and is passed over where the tail repeats it. */
  readonly joinedWith: PgSnapshot | undefined;
}

export interface InJournal {
  readonly from: 'journal';
  /** Of what it reads now. */
  blocks: number;
  blocksLeft: number;
  /** About so many events it lacked when the log had brought so many; null: not known. */
  lacked: number | null;
  brought: number;
}

export function inJournal(lacked: number | null, tail: Tail): InJournal {
  return { from: 'journal', blocks: 0, blocksLeft: 0, lacked, brought: tail.brought() };
}

/** What is committed and not delivered; null: not known. In the journal an estimate, and what the log has brought since. */
export function pendingEvents(reading: Reading, tail: Tail): number | null {
  if (reading.from === 'log') return tail.pending(reading.cursor);
  return reading.lacked === null ? null : reading.lacked + tail.brought() - reading.brought;
}

export function shareDone({ blocks, blocksLeft }: InJournal): number {
  return blocks === 0 ? 0 : (blocks - blocksLeft) / blocks;
}

/** The feed came to the log with everything that its snapshot sees. */
export function wasRead({ xid }: TailEntry, { joinedWith }: InLog): boolean {
  return joinedWith !== undefined && xid > 0 && sees(joinedWith, xid);
}
