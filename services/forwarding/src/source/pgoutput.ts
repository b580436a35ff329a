// The messages of PostgreSQL's logical decoding, protocol version 1 of the plugin pgoutput, as far as an insert-only
// publication sends them. Documented in "Logical Replication Message Formats" of PostgreSQL's manual.
import { readLsn } from './lsn.ts';

export interface Relation {
  readonly name: string;
  readonly columns: readonly string[];
  /** The column whose values are handed out as bytes; -1: none. */
  readonly bytesAt: number;
}

/** Text as PostgreSQL prints it; of the column that is only passed on its bytes, a part of the row's. */
export type LogValue = string | Buffer | null;

export type LogMessage =
  /** `lsn`: where the commit record begins; every message of the transaction belongs to it. */
  | { readonly kind: 'begin'; readonly lsn: number; readonly committedAt: number; readonly xid: number }
  /** `row`: for `readRow`, to be copied before the next message. */
  | { readonly kind: 'insert'; readonly relation: Relation; readonly row: Buffer }
  /** `end`: where the commit record ends; confirming it means having the whole transaction. */
  | { readonly kind: 'commit'; readonly end: number };

export interface Decoder {
  /** `at`: where pgoutput's message begins in `bytes`. Undefined: nothing to act on. */
  decode(bytes: Buffer, at: number): LogMessage | undefined;
}

/** PostgreSQL counts microseconds from 2000-01-01. */
const EPOCH_MS = 946_684_800_000;
const BEGIN = 0x42;
const COMMIT = 0x43;
const INSERT = 0x49;
const RELATION = 0x52;
const NULL_VALUE = 0x6e;
const TEXT_VALUE = 0x74;
/** Origin, type and logical message: announced, and of no interest here. */
const IGNORED = new Set([0x4f, 0x59, 0x4d]);

/** `keptAsBytes`: a column whose values are large and never looked into. */
export function openDecoder(keptAsBytes: string): Decoder {
  const relations = new Map<number, Relation>();

  function readRelation(bytes: Buffer, at: number): void {
    const id = bytes.readUInt32BE(at);
    const schemaEnd = bytes.indexOf(0, at + 4);
    const nameEnd = bytes.indexOf(0, schemaEnd + 1);
    const columns: string[] = [];
    let next = nameEnd + 4; // one byte of replica identity, two of the number of columns
    for (let left = bytes.readUInt16BE(nameEnd + 2); left > 0; left--) {
      const end = bytes.indexOf(0, next + 1); // after one byte of flags
      columns.push(bytes.toString('utf8', next + 1, end));
      next = end + 9; // type and its modifier
    }
    const name = bytes.toString('utf8', schemaEnd + 1, nameEnd);
    relations.set(id, { name, columns, bytesAt: columns.indexOf(keptAsBytes) });
  }

  function readInsert(bytes: Buffer, at: number): LogMessage {
    const relation = relations.get(bytes.readUInt32BE(at));
    if (relation === undefined) throw new Error('BUG: a row of a relation that was never announced');
    return { kind: 'insert', relation, row: bytes.subarray(at + 5) }; // after one byte "new tuple"
  }

  return {
    decode: (bytes, at) => {
      const kind = bytes[at];
      switch (kind) {
        case INSERT:
          return readInsert(bytes, at + 1);
        case BEGIN: {
          const committedAt = Number(bytes.readBigInt64BE(at + 9)) / 1_000 + EPOCH_MS;
          return { kind: 'begin', lsn: readLsn(bytes, at + 1), committedAt, xid: bytes.readUInt32BE(at + 17) };
        }
        case COMMIT:
          return { kind: 'commit', end: readLsn(bytes, at + 10) };
        case RELATION:
          readRelation(bytes, at + 1);
          return undefined;
        default:
          if (kind !== undefined && IGNORED.has(kind)) return undefined;
          // An update, delete or truncate would mean that the publication is not insert-only.
          throw new Error(`the publication sends messages of kind ${kind}, which an insert-only one does not`);
      }
    },
  };
}

/** A row's values, in the order of its relation's columns. */
export function readRow({ bytesAt }: Relation, row: Buffer): LogValue[] {
  const count = row.readUInt16BE(0);
  const values = new Array<LogValue>(count);
  let next = 2;
  for (let column = 0; column < count; column++) {
    const kind = row[next];
    if (kind === NULL_VALUE) {
      values[column] = null;
      next += 1;
    } else if (kind === TEXT_VALUE) {
      const from = next + 5;
      next = from + row.readUInt32BE(next + 1);
      values[column] = column === bytesAt ? row.subarray(from, next) : row.toString('utf8', from, next);
    } else {
      throw new Error(`BUG: a new row with a value of kind ${kind}`);
    }
  }
  return values;
}
