// What the log reader hands out becomes entries of the tail. When the tail is full the reader waits.

import type { GenerationOf } from '../journal/generations.ts';
import { type JournalRow, journalRowReader, rfc3339, type WatermarkRow } from '../journal/journal-row.ts';
import type { LogReader } from '../source/log-reader.ts';
import { type LogMessage, type LogValue, type Relation, readRow } from '../source/pgoutput.ts';
import type { EventMark } from '../source/remembered.ts';
import { LoggedEvent, openShelf } from './logged-event.ts';
import { BACKLOG_AHEAD, BACKLOG_MS, type Tail, type TailEntry } from './tail.ts';

export interface Intake {
  onMessage(message: LogMessage): void;
  onProgress(lsn: number): void;
  /** From now on there is a place to put things; the reader begins. */
  begin(options: Begin): void;
  /** The last event that came; null: none yet. */
  lastEvent(): EventMark | null;
  /** The reader waits until a feed has taken more. */
  waits(): boolean;
}

export interface Begin {
  readonly tail: Tail;
  readonly reader: LogReader;
  readonly generation: number;
  readonly generationOf: GenerationOf;
  /** A transaction id of this moment: the log names the low half of them only. */
  readonly barrierXid: number;
  /** Source's clock, ms. */
  now(): number;
}

/** A watermark's entry: a few short strings. */
const WATERMARK_BYTES = 600;
const JOURNAL = 'order_event';
const WATERMARKS = 'journal_watermark';
const RAISES = 'generation_raised';
const XIDS = 2 ** 32;

export function fillTail(source: string, onEvent: () => void): Intake {
  const readers = new Map<Relation, (row: Buffer, xid: number) => JournalRow['message']>();
  const shelf = openShelf();
  let tail: Tail | undefined;
  let reader: LogReader | undefined;
  let generation = 0;
  let generationOf: GenerationOf = (written) => written;
  let now: () => number = Date.now;
  /** Whole; at first that of the lead's start. */
  let xid = 0;
  let waiting = false;
  let lsn = 0;
  let committedAt = 0;
  let receivedAt = 0;
  let index = 0;
  let last: LoggedEvent | undefined;

  function onInsert(relation: Relation, row: Buffer): void {
    if (relation.name === JOURNAL) {
      const read = rowReader(relation);
      last = new LoggedEvent({ lsn, index, xid, committedAt, receivedAt, read, row: shelf(row) });
      onEvent();
      if (!(isBacklog() && tail?.passOver({ lsn, index }, xid))) push(last);
    } else if (relation.name === WATERMARKS) {
      const message = watermark(relation, readRow(relation, row));
      // What another forwarder wrote is true of its routes, and would be a hole in the row of ours.
      if (message.node === source)
        push({ lsn, index, xid: 0, committedAt, receivedAt, bytes: WATERMARK_BYTES, message });
    } else if (relation.name === RAISES) {
      refuseRaise(Number(readRow(relation, row)[relation.columns.indexOf('generation')]));
    }
    index++;
  }

  /** What follows in the log belongs to it, and perhaps some of what came before: all of it is looked at again. */
  function refuseRaise(raised: number): void {
    if (raised > generation) throw new Error(`the generation was raised to ${raised}`);
  }

  function isBacklog(): boolean {
    return now() - committedAt > BACKLOG_MS;
  }

  function hasRoom(tail: Tail): boolean {
    return !tail.isFull() && !(isBacklog() && tail.waiting() > BACKLOG_AHEAD);
  }

  function rowReader(relation: Relation) {
    const known = readers.get(relation);
    if (known !== undefined) return known;
    const read = journalRowReader(source, relation.columns, generationOf);
    const made = (row: Buffer, xid: number) => read(readRow(relation, row), xid).message;
    readers.set(relation, made);
    return made;
  }

  function watermark(relation: Relation, values: readonly LogValue[]): WatermarkRow {
    const node = String(values[relation.columns.indexOf('node')]);
    const value = rfc3339(String(values[relation.columns.indexOf('value')]));
    return { kind: 'watermark', source, generation, node, value };
  }

  function push(entry: TailEntry): void {
    if (tail === undefined) throw new Error('BUG: the log was read before there was a tail');
    tail.push(entry);
    if (waiting || hasRoom(tail)) return;
    waiting = true;
    reader?.pause();
    tail.grew.notify(); // in the middle of a transaction larger than what is read ahead
  }

  return {
    onMessage: (message) => {
      switch (message.kind) {
        case 'begin':
          lsn = message.lsn;
          committedAt = message.committedAt;
          receivedAt = performance.now();
          xid = wholeXid(message.xid, xid);
          index = 0;
          return;
        case 'insert':
          return onInsert(message.relation, message.row);
        case 'commit':
          tail?.grew.notify(); // not at its first row: the rest of it would wait for another delivery
          return;
      }
    },
    onProgress: (through) => tail?.progress(through),
    waits: () => waiting,
    lastEvent: () => {
      if (last === undefined) return null;
      const { merchant_id, order_id, version, occurred_at } = last.message;
      return { merchant_id, order_id, version, occurred_at };
    },
    begin: (options) => {
      ({ now, tail, generation, generationOf, barrierXid: xid } = options);
      const from = options.reader;
      reader = from;
      tail.onRoom(() => {
        if (!waiting || !hasRoom(options.tail)) return;
        waiting = false;
        from.resume();
      });
      from.begin();
    },
  };
}

/** The one with this low half that is nearest: less than half of all there are lies between neighbours in the log. */
function wholeXid(low: number, near: number): number {
  const same = near - (near % XIDS) + low;
  if (same - near > XIDS / 2) return same - XIDS;
  return near - same > XIDS / 2 ? same + XIDS : same;
}
