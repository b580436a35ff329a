// One column of a batch as one binary array parameter. pg would write each array as text, escape every element, and
// PostgreSQL would parse it again: 10-15 % of the whole for a batch of payments (docs/facts.md). A Buffer goes out as it is.
// Format: number of dimensions, "has nulls", element type, length, lower bound, then per element its size and bytes.
//
// Written in one pass into a scratch buffer that is kept and grows: half the time of measuring first, and this runs for
// every column of every payment.

export type ArrayType = 'uuid' | 'text' | 'integer' | 'bigint' | 'boolean' | 'bytea' | 'timestamptz';

/** Type oids of PostgreSQL's catalogue (pg_type.dat). */
const oids: Readonly<Record<ArrayType, number>> = {
  boolean: 16,
  bytea: 17,
  bigint: 20,
  integer: 23,
  text: 25,
  timestamptz: 1184,
  uuid: 2950,
};

const HEADER_BYTES = 20;
const SIZE_BYTES = 4;
const NULL_SIZE = -1;
/** PostgreSQL counts microseconds from 2000-01-01T00:00:00Z. */
const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1);
/** UTF-8 takes at most three bytes for each unit of a JavaScript string. */
const MOST_BYTES_PER_UNIT = 3;

let scratch = Buffer.allocUnsafeSlow(64 * 1024);

/**
 * `values`, one per row, null for NULL: strings for uuid, text and timestamptz (RFC 3339, kept to the millisecond),
 * numbers for integer, bigints or whole numbers for bigint, Buffers for bytea. Throws TypeError or RangeError for what
 * does not fit.
 */
export function arrayParameter(type: ArrayType, values: readonly unknown[]): Buffer {
  let at = HEADER_BYTES;
  let hasNulls = 0;
  for (const value of values) {
    if (value === null) {
      makeRoom(at, SIZE_BYTES);
      scratch.writeInt32BE(NULL_SIZE, at);
      at += SIZE_BYTES;
      hasNulls = 1;
      continue;
    }
    const size = write(type, value, at + SIZE_BYTES);
    scratch.writeInt32BE(size, at);
    at += SIZE_BYTES + size;
  }
  scratch.writeInt32BE(1, 0);
  scratch.writeInt32BE(hasNulls, 4);
  scratch.writeInt32BE(oids[type], 8);
  scratch.writeInt32BE(values.length, 12);
  scratch.writeInt32BE(1, 16);
  return Buffer.from(scratch.subarray(0, at));
}

/** Writes one element and returns its size; there is room for the size in front of it too. */
function write(type: ArrayType, value: unknown, at: number): number {
  switch (type) {
    case 'text': {
      const text = value as string;
      makeRoom(at, text.length * MOST_BYTES_PER_UNIT);
      return scratch.write(text, at, 'utf8');
    }
    case 'uuid':
      makeRoom(at, 16);
      return writeUuid(value as string, at);
    case 'integer':
      makeRoom(at, 4);
      scratch.writeInt32BE(value as number, at);
      return 4;
    case 'bigint':
      makeRoom(at, 8);
      scratch.writeBigInt64BE(BigInt(value as bigint | number), at);
      return 8;
    case 'boolean':
      makeRoom(at, 1);
      scratch.writeUInt8(value === true ? 1 : 0, at);
      return 1;
    case 'timestamptz':
      makeRoom(at, 8);
      scratch.writeBigInt64BE(BigInt(msOf(value as string) - POSTGRES_EPOCH_MS) * 1_000n, at);
      return 8;
    case 'bytea': {
      const bytes = value as Buffer;
      makeRoom(at, bytes.length);
      scratch.set(bytes, at);
      return bytes.length;
    }
  }
}

/** Also for the element's size in front of it, when it is the first. */
function makeRoom(at: number, bytes: number): void {
  const needed = at + bytes + SIZE_BYTES;
  if (needed <= scratch.length) return;
  const larger = Buffer.allocUnsafeSlow(Math.max(needed, scratch.length * 2));
  scratch.copy(larger, 0, 0, at);
  scratch = larger;
}

const NOT_HEX = 0xff;
const hexDigits = new Uint8Array(128).fill(NOT_HEX);
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  hexDigits[digit.charCodeAt(0)] = value;
  hexDigits[digit.toUpperCase().charCodeAt(0)] = value;
}
/** Where the two digits of each byte stand in the text of a UUID. */
const uuidBytes = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

function writeUuid(text: string, at: number): number {
  if (text.length !== 36) throw new TypeError(`not a UUID: ${text}`);
  let seen = 0;
  for (let index = 0; index < 16; index++) {
    const position = uuidBytes[index] ?? 0;
    const high = hexDigits[text.charCodeAt(position)] ?? NOT_HEX;
    const low = hexDigits[text.charCodeAt(position + 1)] ?? NOT_HEX;
    seen |= high | low;
    scratch[at + index] = (high << 4) | low;
  }
  if (seen > 0xf) throw new TypeError(`not a UUID: ${text}`);
  return 16;
}

function msOf(text: string): number {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new TypeError(`not a time: ${text}`);
  return ms;
}
