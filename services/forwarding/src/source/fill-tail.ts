// What the log reader hands out becomes entries of the tail. When the tail is full the reader waits.

import type { Tail } from '../delivery/tail.ts';
import type { GenerationOf } from './generations.ts';
import type { EventMark } from './history.ts';
import type { TailMessage, WatermarkRow } from './journal-row.ts';
import { journalRowReader, type RowReader, rfc3339 } from './journal-row.ts';
import type { LogReader } from './log-reader.ts';
import type { LogMessage, LogValue, Relation } from './pgoutput.ts';

export interface Intake {
  onMessage(message: LogMessage): void;
  onProgress(lsn: number): void;
  /** From now on there is a place to put things; the reader begins. */
  begin(options: Begin): void;
  /** The last event that came; null: none yet. */
  lastEvent(): EventMark | null;
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

/** An entry's fields and strings besides `data`. */
const ENTRY_BYTES = 600;
/** Older commits are no part of what feeds come back to. */
const BACKLOG_MS = 2_000;
const JOURNAL = 'order_event';
const WATERMARKS = 'journal_watermark';
const RAISES = 'generation_raised';
const XIDS = 2 ** 32;

export function fillTail(source: string, onEvent: () => void): Intake {
  const readers = new Map<Relation, RowReader>();
  let tail: Tail | undefined;
  let reader: LogReader | undefined;
  let generation = 0;
  let generationOf: GenerationOf = (written) => written;
  let now: () => number = Date.now;
  let barrierXid = 0;
  let xid = 0;
  let waiting = false;
  let lsn = 0;
  let committedAt = 0;
  let receivedAt = 0;
  let index = 0;
  let last: EventMark | undefined;

  function onInsert(relation: Relation, values: readonly LogValue[]): void {
    if (relation.name === JOURNAL) {
      const { message } = rowReader(relation)(values, xid);
      last = message;
      onEvent();
      if (isBacklog() && tail?.passOver({ lsn, index }, xid)) {
        index++;
        return;
      }
      // A copy: pg moves what it has not parsed yet within the buffer that this is a part of.
      const data = Buffer.from(message.data);
      push(xid, { ...message, data }, data.length);
    } else if (relation.name === WATERMARKS) {
      push(0, watermark(relation, values), 0);
    } else if (relation.name === RAISES) {
      refuseRaise(Number(values[relation.columns.indexOf('generation')]));
    }
  }

  /** What follows in the log belongs to it, and perhaps some of what came before: all of it is looked at again. */
  function refuseRaise(raised: number): void {
    if (raised > generation) throw new Error(`the generation was raised to ${raised}`);
  }

  function isBacklog(): boolean {
    return now() - committedAt > BACKLOG_MS;
  }

  function rowReader(relation: Relation): RowReader {
    const known = readers.get(relation);
    if (known !== undefined) return known;
    const made = journalRowReader(source, relation.columns, generationOf);
    readers.set(relation, made);
    return made;
  }

  function watermark(relation: Relation, values: readonly LogValue[]): WatermarkRow {
    const node = String(values[relation.columns.indexOf('node')]);
    const value = rfc3339(String(values[relation.columns.indexOf('value')]));
    return { kind: 'watermark', source, generation, node, value };
  }

  function push(xid: number, message: TailMessage, dataLength: number): void {
    if (tail === undefined) throw new Error('BUG: the log was read before there was a tail');
    tail.push({ lsn, index: index++, xid, committedAt, receivedAt, bytes: ENTRY_BYTES + dataLength, message });
    if (waiting || !tail.isFull()) return;
    waiting = true;
    reader?.pause();
  }

  return {
    onMessage: (message) => {
      switch (message.kind) {
        case 'begin':
          lsn = message.lsn;
          committedAt = message.committedAt;
          receivedAt = performance.now();
          xid = wholeXid(message.xid, barrierXid);
          index = 0;
          return;
        case 'insert':
          return onInsert(message.relation, message.values);
        case 'commit':
          return;
      }
    },
    onProgress: (through) => tail?.progress(through),
    lastEvent: () => {
      if (last === undefined) return null;
      const { merchant_id, order_id, version, occurred_at } = last;
      return { merchant_id, order_id, version, occurred_at };
    },
    begin: (options) => {
      ({ now, tail, generation, generationOf, barrierXid } = options);
      const from = options.reader;
      reader = from;
      tail.onRoom(() => {
        if (!waiting) return;
        waiting = false;
        from.resume();
      });
      from.begin();
    },
  };
}

/** The one with this low half that is nearest: at most half of all there are lies between the log and this moment. */
function wholeXid(low: number, near: number): number {
  const same = near - (near % XIDS) + low;
  if (same - near > XIDS / 2) return same - XIDS;
  return near - same > XIDS / 2 ? same + XIDS : same;
}
