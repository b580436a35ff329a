// An event of the log, as it waits in the tail: its row's bytes, outside the heap, taken apart whenever it is asked for. As
// objects and strings, twenty thousand of them, they would be moved by the garbage collector several times over: half of
// the CPU that forwarding took.

import type { JournalRow } from '../journal/journal-row.ts';
import type { TailEntry } from './tail.ts';

type Message = JournalRow['message'];

export interface Logged extends Omit<TailEntry, 'bytes' | 'message'> {
  readonly row: Buffer;
  read(row: Buffer, xid: number): Message;
}

/** The fields of an entry besides its row. */
const ENTRY_BYTES = 300;
const SHELF_BYTES = 256 * 1024;

export class LoggedEvent implements TailEntry {
  readonly lsn: number;
  readonly index: number;
  readonly xid: number;
  readonly committedAt: number;
  readonly receivedAt: number;
  readonly #row: Buffer;
  readonly #read: Logged['read'];
  constructor({ lsn, index, xid, committedAt, receivedAt, row, read }: Logged) {
    this.lsn = lsn;
    this.index = index;
    this.xid = xid;
    this.committedAt = committedAt;
    this.receivedAt = receivedAt;
    this.#row = row;
    this.#read = read;
  }
  get bytes(): number {
    return ENTRY_BYTES + this.#row.length;
  }
  get message(): Message {
    return this.#read(this.#row, this.xid);
  }
}

/** Copies rows into memory that is taken in large pieces: pg moves the bytes that it hands out. */
export function openShelf(): (row: Buffer) => Buffer {
  let shelf = Buffer.alloc(0);
  let used = 0;
  return (row) => {
    if (used + row.length > shelf.length) {
      shelf = Buffer.allocUnsafeSlow(Math.max(SHELF_BYTES, row.length));
      used = 0;
    }
    const kept = shelf.subarray(used, used + row.length);
    kept.set(row);
    used += row.length;
    return kept;
  };
}
