// The last stretch of one source's log, in memory, shared by all its feeds: each keeps a cursor into it. Bounded; what
// every cursor has passed is let go, but for a little. When a feed that is still reading stands at the front of a full
// tail, there is no room, and the log reader waits.
//
// A feed that reads the journal comes back by a snapshot of the database (see `hold`): everything let go, and everything
// committed before the log reader's first position, must be finished in it. While it reads up to that snapshot it holds
// the place where it will go on, but only as long as there is room: nobody waits for a feed that is not here.

import type { TailMessage } from '../journal/journal-row.ts';
import { openSignal, type Signal } from '../signal.ts';

export interface LogPosition {
  /** Where the commit record begins. Transactions share no position; events of one transaction do. */
  readonly lsn: number;
  /** Counts the messages of the transaction, from 0. */
  readonly index: number;
}

export interface TailEntry extends LogPosition {
  /** 0: of no interest to `hold` (watermarks). */
  readonly xid: number;
  /** Source's clock, ms. */
  readonly committedAt: number;
  /** Our monotonic clock, ms. */
  readonly receivedAt: number;
  readonly bytes: number;
  readonly message: TailMessage;
}

/** Where a feed will go on; lost when room was needed. */
export interface Place {
  readonly cursor: number;
  readonly lost: boolean;
}

interface HeldPlace {
  readonly xmin: number;
  cursor: number;
  lost: boolean;
  /** Nothing that the snapshot does not know to be finished has come yet: it moves along behind what does come. */
  open: boolean;
}

export interface Tail {
  /** Whoever waits for `grew` is told by the caller: at the commit, not at each row of a transaction. */
  push(entry: TailEntry): void;
  /**
   * True: nobody needs what stands at this position, and it is passed over as if it had come and gone. So a long backlog
   * is not copied into memory for feeds that read the journal.
   */
  passOver(position: LogPosition, xid: number): boolean;
  /** Nothing before `lsn` is still to come. */
  progress(lsn: number): void;
  /** From the cursor on, at most so many; may be empty. */
  take(cursor: number, most: number, mostBytes: number): readonly TailEntry[];
  /** Entries from the cursor to the end. */
  pending(cursor: number): number;
  /** Events that the log has brought so far, passed over or not. */
  brought(): number;
  /** How long the first of them has waited for a feed that reads here since `since` (monotonic clock), ms; 0 without one. */
  waitingMs(cursor: number, since: number): number;
  /**
   * Holds the place from which a feed goes on that has everything visible in a snapshot with this xmin, until it is given
   * back or there is no room. Undefined: the tail does not reach back far enough; a later snapshot will do.
   */
  hold(xmin: number): Place | undefined;
  giveBack(place: Place): void;
  /** So little is waiting there (at `now`, source's clock, ms) that a feed can go on from it without being cut loose again. */
  isNear(place: Place, now: number): boolean;
  /** The first entry that is kept. */
  begin(): number;
  /** The last entry before the cursor. */
  positionBefore(cursor: number): LogPosition;
  /** Everything in the log before it is before the cursor. */
  frontier(cursor: number): number;
  /** How long nothing was heard from the server, ms; 0 while it speaks as often as it should. */
  silentMs(): number;
  isFull(): boolean;
  /** Entries that the last of the feeds that read here has yet to take. */
  waiting(): number;
  /** Cursors that still read here hold their entries. */
  readonly cursors: Set<{ readonly cursor: number }>;
  readonly grew: Signal;
  /** The watermark of this value was committed before `at`: source's clock, ms. */
  wroteWatermark(value: string, at: number): void;
  /** Undefined: it was not written by this forwarder, or long ago. */
  watermarkWrittenBefore(value: string): number | undefined;
  /** Called when there is room again; also after a cursor moved or was removed. */
  onRoom(listener: () => void): void;
  /** To be called when a cursor moved or was removed. */
  released(): void;
}

export interface TailOptions {
  readonly maxBytes: number;
  readonly maxEntries: number;
  /** Where the reading of the log began. */
  readonly start: number;
  /** A transaction id given out after the log reader had its slot: everything before `start` is older. */
  readonly barrierXid: number;
}

/** Older commits are a backlog. */
export const BACKLOG_MS = 2_000;
/** Of a backlog two deliveries are read ahead: more would wait in memory, and be no sooner anywhere. */
export const BACKLOG_AHEAD = 2_000;
/** A feed comes back to the log when no more than this is waiting there for it; of a backlog what is read ahead. */
const JOIN_WITHIN = 10_000;
const COMPACT_AFTER = 4_096;
/** Kept though every cursor has passed them: a snapshot taken now must not be older than what was let go. */
const KEEP_ENTRIES = 1_000;
/** The log reader asks an idle server every second how far it is. */
const EXPECTED_EVERY_MS = 2_500;
/** One a second; a feed whose last one is older goes on from the journal long before. */
const WRITTEN_WATERMARKS = 600;

export function openTail({ maxBytes, maxEntries, start, barrierXid }: TailOptions): Tail {
  let entries: TailEntry[] = [];
  /** Index in `entries` of the first one kept, and its cursor. */
  let head = 0;
  let first = 0;
  let pushed = 0;
  let brought = 0;
  let bytes = 0;
  let through = start;
  let heardAt = performance.now();
  let letGoXid = barrierXid;
  let letGo: LogPosition = { lsn: start, index: -1 };
  let onRoom: () => void = () => undefined;
  const cursors = new Set<{ readonly cursor: number }>();
  const places = new Set<HeldPlace>();
  const grew = openSignal();
  const written = new Map<string, number>();

  const count = () => entries.length - head;
  const isOver = () => bytes > maxBytes || count() > maxEntries;
  const at = (cursor: number) => entries[head + cursor - first];

  function makeRoom(): void {
    const end = first + count();
    const reading = least(cursors, end);
    const held = Math.min(reading, least(places, end), end - KEEP_ENTRIES);
    while (first < held || (isOver() && first < reading)) letFirstGo();
    for (const place of places) {
      if (place.cursor >= first) continue;
      place.lost = true;
      places.delete(place);
    }
    if (head > COMPACT_AFTER) {
      entries = entries.slice(head);
      head = 0;
    }
  }

  function letFirstGo(): void {
    const entry = entries[head++];
    if (entry === undefined) throw new Error('BUG: nothing to let go');
    first++;
    bytes -= entry.bytes;
    letGo = entry;
    if (entry.xid > letGoXid) letGoXid = entry.xid;
  }

  return {
    cursors,
    grew,
    push: (entry) => {
      entries.push(entry);
      bytes += entry.bytes;
      if (entry.xid > 0) brought++;
      for (const place of places) if (place.open) moveAlong(place, entry);
      if (isOver() || ++pushed % KEEP_ENTRIES === 0) makeRoom();
    },
    passOver: (position, xid) => {
      if (cursors.size > 0) return false;
      for (const place of places) if (!place.open || xid >= place.xmin) return false;
      while (count() > 0) letFirstGo();
      letGo = position;
      if (xid > letGoXid) letGoXid = xid;
      brought++;
      return true;
    },
    progress: (lsn) => {
      through = lsn;
      heardAt = performance.now();
    },
    take: (cursor, most, mostBytes) => {
      const taken: TailEntry[] = [];
      let size = 0;
      for (let entry = at(cursor); entry !== undefined && taken.length < most; entry = at(cursor + taken.length)) {
        size += entry.bytes;
        if (taken.length > 0 && size > mostBytes) break;
        taken.push(entry);
      }
      return taken;
    },
    pending: (cursor) => first + count() - cursor,
    brought: () => brought,
    waitingMs: (cursor, since) => {
      const entry = at(cursor);
      return entry === undefined ? 0 : performance.now() - Math.max(entry.receivedAt, since);
    },
    isNear: ({ cursor, lost }, now) => {
      const last = entries[entries.length - 1];
      const isBacklog = last !== undefined && now - last.committedAt > BACKLOG_MS;
      return !lost && first + count() - cursor <= (isBacklog ? BACKLOG_AHEAD : JOIN_WITHIN);
    },
    hold: (xmin) => {
      if (letGoXid >= xmin) return undefined;
      const place: HeldPlace = { xmin, cursor: first, lost: false, open: true };
      for (let entry = at(first); entry !== undefined && place.open; entry = at(place.cursor)) moveAlong(place, entry);
      places.add(place);
      return place;
    },
    giveBack: (place) => {
      for (const held of places) if (held === place) places.delete(held);
    },
    begin: () => first,
    positionBefore: (cursor) => (cursor > first ? (at(cursor - 1) ?? letGo) : letGo),
    frontier: (cursor) => at(cursor)?.lsn ?? through,
    silentMs: () => {
      const silent = performance.now() - heardAt;
      return silent < EXPECTED_EVERY_MS ? 0 : silent;
    },
    isFull: isOver,
    waiting: () => first + count() - least(cursors, first + count()),
    wroteWatermark: (value, at) => {
      written.delete(value);
      written.set(value, at);
      for (const oldest of written.keys()) if (written.size > WRITTEN_WATERMARKS) written.delete(oldest);
    },
    watermarkWrittenBefore: (value) => written.get(value),
    onRoom: (listener) => {
      onRoom = listener;
    },
    released: () => {
      makeRoom();
      if (!isOver()) onRoom();
    },
  };
}

/** `entry` stands at the place: the snapshot has it, or the feed goes on with it. */
function moveAlong(place: HeldPlace, entry: TailEntry): void {
  if (entry.xid < place.xmin) place.cursor++;
  else place.open = false;
}

function least(cursors: Iterable<{ readonly cursor: number }>, end: number): number {
  let slowest = end;
  for (const { cursor } of cursors) slowest = Math.min(slowest, cursor);
  return slowest;
}

export function isAfter(entry: LogPosition, position: LogPosition): boolean {
  return entry.lsn > position.lsn || (entry.lsn === position.lsn && entry.index > position.index);
}
