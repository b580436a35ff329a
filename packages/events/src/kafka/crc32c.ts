// CRC-32C (Castagnoli), which guards every record batch. Node has only the other CRC-32. Eight bytes a step, through eight
// tables: about 0.7 ns a byte, a third of the time of one byte a step.

const POLYNOMIAL = 0x82f63b78;
const tables = makeTables();

function makeTables(): Int32Array[] {
  const first = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    first[byte] = crc;
  }
  const all = [first];
  for (let table = 1; table < 8; table++) {
    const before = all[table - 1] as Int32Array;
    all.push(before.map((crc) => (crc >>> 8) ^ (first[crc & 0xff] as number)));
  }
  return all;
}

const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/** Of the bytes from `start` to the end, as an unsigned number. */
export function crc32c(bytes: Uint8Array, start = 0): number {
  // Indices are in range by construction; the casts spare the hot loop a check for undefined.
  const at = (table: Int32Array, index: number) => table[index & 0xff] as number;
  const byte = (index: number) => bytes[index] as number;
  let crc = -1;
  let i = start;
  for (const end = bytes.length - 8; i <= end; i += 8) {
    crc ^= byte(i) | (byte(i + 1) << 8) | (byte(i + 2) << 16) | (byte(i + 3) << 24);
    crc =
      at(t7, crc) ^
      at(t6, crc >>> 8) ^
      at(t5, crc >>> 16) ^
      at(t4, crc >>> 24) ^
      at(t3, byte(i + 4)) ^
      at(t2, byte(i + 5)) ^
      at(t1, byte(i + 6)) ^
      at(t0, byte(i + 7));
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ at(t0, crc ^ byte(i));
  return (crc ^ -1) >>> 0;
}
