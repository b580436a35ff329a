// What the log reader hands out becomes entries of the tail. When the tail is full the reader waits.

import type { Tail } from '../delivery/tail.ts';
import type { OutgoingMessage } from './journal-row.ts';
import { journalRowReader, type RowReader, rfc3339 } from './journal-row.ts';
import type { LogReader } from './log-reader.ts';
import type { LogMessage, LogValue, Relation } from './pgoutput.ts';

export interface Intake {
  onMessage(message: LogMessage): void;
  onProgress(lsn: number): void;
  /** From now on there is a place to put things; the reader begins. `now`: source's clock, ms. */
  begin(tail: Tail, generation: number, reader: LogReader, now: () => number): void;
}

/** An entry's fields and strings besides `data`. */
const ENTRY_BYTES = 600;
/** Older commits are no part of what feeds come back to. */
const BACKLOG_MS = 2_000;
const JOURNAL = 'order_event';
const WATERMARKS = 'journal_watermark';

export function fillTail(source: string, onEvent: () => void): Intake {
  const readers = new Map<Relation, RowReader>();
  let tail: Tail | undefined;
  let reader: LogReader | undefined;
  let generation = 0;
  let now: () => number = Date.now;
  let waiting = false;
  let lsn = 0;
  let committedAt = 0;
  let receivedAt = 0;
  let index = 0;

  function onInsert(relation: Relation, values: readonly LogValue[]): void {
    if (relation.name === JOURNAL) {
      const { xid, message } = rowReader(relation)(values);
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
    }
  }

  function isBacklog(): boolean {
    return now() - committedAt > BACKLOG_MS;
  }

  function rowReader(relation: Relation): RowReader {
    const known = readers.get(relation);
    if (known !== undefined) return known;
    const made = journalRowReader(source, relation.columns);
    readers.set(relation, made);
    return made;
  }

  function watermark(relation: Relation, values: readonly LogValue[]): OutgoingMessage {
    const node = String(values[relation.columns.indexOf('node')]);
    const value = rfc3339(String(values[relation.columns.indexOf('value')]));
    return { kind: 'watermark', source, generation, node, value };
  }

  function push(xid: number, message: OutgoingMessage, dataLength: number): void {
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
          index = 0;
          return;
        case 'insert':
          return onInsert(message.relation, message.values);
        case 'commit':
          return;
      }
    },
    onProgress: (through) => tail?.progress(through),
    begin: (to, currentGeneration, from, clock) => {
      now = clock;
      tail = to;
      reader = from;
      generation = currentGeneration;
      tail.onRoom(() => {
        if (!waiting) return;
        waiting = false;
        from.resume();
      });
      from.begin();
    },
  };
}
