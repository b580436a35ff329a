// A record batch (format 2, the only one brokers store): encoded once, in one pass. Sending it again
// sends these bytes again, and its sequence numbers let the broker see that it has them.
import { crc32c } from './crc32c.ts';
import type { OutgoingRecord } from './record.ts';

/** Given by the broker; together with the sequence it makes sending idempotent. */
export interface ProducerIdentity {
  readonly id: bigint;
  readonly epoch: number;
}

const HEADER_BYTES = 61;
const CRC_AT = 17;
const CRC_COVERS_FROM = 21;
const MAGIC = 2;
/** A record's own fields, and the lengths of its key and value. */
const MOST_AROUND_BYTES = 32;
const MOST_SHORT = 128;

/**
 * `sequence` counts the records of this producer in this partition. Written into `into`, where it fits, and else into new
 * memory: what batches take outside the heap makes V8 collect the whole of it, several times a second.
 */
export function encodeBatch(
  records: readonly OutgoingRecord[],
  producer: ProducerIdentity,
  sequence: number,
  into: Buffer = Buffer.alloc(0),
): Buffer {
  const needed = records.reduce((sum, record) => sum + most(record), HEADER_BYTES);
  const room = needed <= into.length ? into : Buffer.allocUnsafeSlow(needed);
  let total = HEADER_BYTES;
  for (const [index, record] of records.entries()) total = writeRecord(room, total, record, index);
  const batch = room.subarray(0, total);
  const now = BigInt(Date.now());
  batch.writeBigInt64BE(0n, 0); // base offset: the broker's to give
  batch.writeInt32BE(total - 12, 8); // everything after this field
  batch.writeInt32BE(-1, 12); // leader epoch: the broker's to know
  batch.writeInt8(MAGIC, 16);
  batch.writeInt16BE(0, 21); // not compressed, not transactional
  batch.writeInt32BE(records.length - 1, 23);
  batch.writeBigInt64BE(now, 27); // retention counts from publishing, or a replay of old events would be deleted at once
  batch.writeBigInt64BE(now, 35);
  batch.writeBigInt64BE(producer.id, 43);
  batch.writeInt16BE(producer.epoch, 51);
  batch.writeInt32BE(sequence, 53);
  batch.writeInt32BE(records.length, 57);
  batch.writeUInt32BE(crc32c(batch, CRC_COVERS_FROM), CRC_AT);
  return batch;
}

/** What a record needs at most: a unit of text is three bytes at most, a length before something five. */
function most({ key, value, headers }: OutgoingRecord): number {
  let units = key?.length ?? 0;
  for (const [name, text] of headers) units += name.length + text.length;
  const valueBytes = typeof value === 'string' ? 3 * value.length : value.length;
  return 3 * units + valueBytes + 10 * headers.length + MOST_AROUND_BYTES;
}

/** The body first, as if its length took two bytes, which is nearly always so; then the length. */
function writeRecord(room: Buffer, start: number, record: OutgoingRecord, index: number): number {
  const guessed = start + 2;
  const end = writeBody(room, guessed, record, index);
  const size = end - guessed;
  const from = start + varintSize(size);
  if (from !== guessed) room.copyWithin(from, guessed, end);
  writeVarint(room, start, size);
  return from + size;
}

function writeBody(room: Buffer, start: number, { key, value, headers }: OutgoingRecord, index: number): number {
  let at = start;
  room[at++] = 0; // attributes
  room[at++] = 0; // time difference
  at = writeVarint(room, at, index);
  at = key === null ? writeVarint(room, at, -1) : writeText(room, at, key);
  if (typeof value === 'string') at = writeText(room, at, value);
  else {
    at = writeVarint(room, at, value.length);
    room.set(value, at);
    at += value.length;
  }
  at = writeVarint(room, at, headers.length);
  for (const [name, text] of headers) at = writeText(room, writeText(room, at, name), text);
  return at;
}

/** Names and ids are short and ASCII: written here they cost a third of what a call into Node does. */
function writeText(room: Buffer, start: number, text: string): number {
  const length = text.length;
  if (length > MOST_SHORT) return writeAnyText(room, start, text);
  let at = writeVarint(room, start, length);
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) return writeAnyText(room, start, text);
    room[at++] = unit;
  }
  return at;
}

function writeAnyText(room: Buffer, start: number, text: string): number {
  const at = writeVarint(room, start, Buffer.byteLength(text));
  return at + room.write(text, at);
}

/** Zigzag: 0, -1, 1, -2 … become 0, 1, 2, 3 …, seven bits a byte. */
function varintSize(value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let bytes = 1;
  while (rest > 0x7f) {
    rest >>>= 7;
    bytes++;
  }
  return bytes;
}

function writeVarint(room: Buffer, start: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let at = start;
  while (rest > 0x7f) {
    room[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  room[at++] = rest;
  return at;
}
