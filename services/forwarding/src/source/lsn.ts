// Positions in the log. 64 bits, kept as a number: exact up to 9 PB of log.
const HALF = 2 ** 32;

/** `16/B374D848` */
export function parseLsn(text: string): number {
  const [high, low] = text.split('/');
  if (high === undefined || low === undefined) throw new Error(`BUG: not a log position: ${text}`);
  return Number.parseInt(high, 16) * HALF + Number.parseInt(low, 16);
}

export function formatLsn(lsn: number): string {
  return `${Math.floor(lsn / HALF)
    .toString(16)
    .toUpperCase()}/${(lsn % HALF).toString(16).toUpperCase()}`;
}

export function readLsn(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * HALF + bytes.readUInt32BE(at + 4);
}

export function writeLsn(bytes: Buffer, lsn: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(lsn / HALF), at);
  bytes.writeUInt32BE(lsn % HALF, at + 4);
}
