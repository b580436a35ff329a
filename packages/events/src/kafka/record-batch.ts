// A record batch (format 2, the only one brokers store): encoded once into one buffer of the right size. Sending it again
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

/** `sequence` counts the records of this producer in this partition. */
export function encodeBatch(records: readonly OutgoingRecord[], producer: ProducerIdentity, sequence: number): Buffer {
  const sizes = records.map(bodySize);
  const total = sizes.reduce((sum, size) => sum + varintSize(size) + size, HEADER_BYTES);
  const batch = Buffer.allocUnsafe(total);
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
  let at = HEADER_BYTES;
  for (const [index, record] of records.entries()) at = writeRecord(batch, at, record, index, sizes[index] as number);
  batch.writeUInt32BE(crc32c(batch, CRC_COVERS_FROM), CRC_AT);
  return batch;
}

function bodySize({ key, value, headers }: OutgoingRecord, index: number): number {
  let size = 2 + varintSize(index); // attributes and time difference, both zero
  size += key === null ? 1 : sized(Buffer.byteLength(key));
  size += sized(typeof value === 'string' ? Buffer.byteLength(value) : value.length);
  size += varintSize(headers.length);
  for (const [name, text] of headers) size += sized(Buffer.byteLength(name)) + sized(Buffer.byteLength(text));
  return size;
}

function writeRecord(batch: Buffer, start: number, record: OutgoingRecord, index: number, size: number): number {
  const { key, value, headers } = record;
  let at = writeVarint(batch, start, size);
  batch[at++] = 0;
  batch[at++] = 0;
  at = writeVarint(batch, at, index);
  at = key === null ? writeVarint(batch, at, -1) : writeText(batch, at, key);
  if (typeof value === 'string') at = writeText(batch, at, value);
  else {
    at = writeVarint(batch, at, value.length);
    at += value.copy(batch, at);
  }
  at = writeVarint(batch, at, headers.length);
  for (const [name, text] of headers) at = writeText(batch, writeText(batch, at, name), text);
  return at;
}

function writeText(batch: Buffer, start: number, text: string): number {
  const at = writeVarint(batch, start, Buffer.byteLength(text));
  return at + batch.write(text, at);
}

function sized(bytes: number): number {
  return varintSize(bytes) + bytes;
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

function writeVarint(batch: Buffer, start: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let at = start;
  while (rest > 0x7f) {
    batch[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  batch[at++] = rest;
  return at;
}
