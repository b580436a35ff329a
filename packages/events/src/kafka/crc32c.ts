// CRC-32C (Castagnoli), which guards every record batch. Node has only the other CRC-32. Sixteen bytes a step, read as four
// words, through sixteen tables: about 0.5 ns a byte, half of the time of eight bytes read one by one. A word's first byte
// is its lowest: the order of every processor that Node 24 runs on, but for s390x.

const POLYNOMIAL = 0x82f63b78;
const TABLES = 16;
/** Table after table: `table[n << 8 | byte]` is what this byte does to the sum when n more bytes follow. */
const table = makeTables();

function makeTables(): Int32Array {
  const all = new Int32Array(TABLES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    all[byte] = crc;
  }
  for (let at = 256; at < all.length; at++) {
    const before = all[at - 256] as number;
    all[at] = (before >>> 8) ^ (all[before & 0xff] as number);
  }
  return all;
}

/** Of the bytes from `start` to the end, as an unsigned number. */
export function crc32c(bytes: Uint8Array, start = 0): number {
  // Indices are in range by construction; the casts spare the hot loop a check for undefined.
  const after = (following: number, byte: number) => table[(following << 8) | (byte & 0xff)] as number;
  let crc = -1;
  let at = start;
  for (; at < bytes.length && (bytes.byteOffset + at) % 4 !== 0; at++)
    crc = (crc >>> 8) ^ after(0, crc ^ (bytes[at] as number));
  if (at >= bytes.length) return (crc ^ -1) >>> 0;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, (bytes.length - at) >> 2);
  const whole = words.length - (words.length % 4);
  for (let i = 0; i < whole; i += 4) {
    const a = crc ^ (words[i] as number);
    const b = words[i + 1] as number;
    const c = words[i + 2] as number;
    const d = words[i + 3] as number;
    crc =
      after(15, a) ^
      after(14, a >>> 8) ^
      after(13, a >>> 16) ^
      after(12, a >>> 24) ^
      after(11, b) ^
      after(10, b >>> 8) ^
      after(9, b >>> 16) ^
      after(8, b >>> 24) ^
      after(7, c) ^
      after(6, c >>> 8) ^
      after(5, c >>> 16) ^
      after(4, c >>> 24) ^
      after(3, d) ^
      after(2, d >>> 8) ^
      after(1, d >>> 16) ^
      after(0, d >>> 24);
  }
  for (at += whole * 4; at < bytes.length; at++) crc = (crc >>> 8) ^ after(0, crc ^ (bytes[at] as number));
  return (crc ^ -1) >>> 0;
}
