// A bank's own books: append-only JSON lines, on disk before each reply. The independent witness: whatever the services
// believe, this file says what the bank did. What arrives in one turn of the loop shares one write.
import { closeSync, constants, mkdirSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface Entry {
  readonly at: string;
  readonly kind: 'charge' | 'reversal' | 'refund';
  readonly reference: string;
  readonly result: string;
  readonly amount: number;
  readonly currency: string;
  readonly merchant_number: string;
  readonly terminal_number: string;
  readonly livemode: boolean;
  /** What the bank's books hold of the card: BIN and last four, never the number. */
  readonly card?: string;
  readonly rrn?: string;
  readonly authorization_code?: string;
  readonly original_reference?: string;
  readonly decline_code?: string;
  readonly response_code?: string;
}

export interface Books {
  readonly file: string;
  /** Resolves when the entry is on disk. */
  append(entry: Entry): Promise<void>;
  close(): Promise<void>;
}

/** Opens the books and hands every entry that is in them to `replay`. A torn last line (a crash) is cut off. */
export function openBooks(directory: string, bank: string, replay: (entry: Entry) => void): Books {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${bank}.jsonl`);
  // A write returns when it is on disk. Straight from the loop: the two turns of the thread pool that a write and an fsync
  // would take cost more than the disk does, and with it half the bank's share of the machine it is measured on.
  const fd = openSync(file, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_DSYNC);
  readBack(file, replay);
  let waiting: { line: string; done: () => void; failed: (error: unknown) => void }[] = [];

  function write(): void {
    const batch = waiting;
    waiting = [];
    try {
      writeWhole(fd, Buffer.from(batch.map((entry) => entry.line).join('')));
      for (const entry of batch) entry.done();
    } catch (error) {
      for (const entry of batch) entry.failed(error);
    }
  }

  return {
    file,
    append: (entry) =>
      new Promise((done, failed) => {
        if (waiting.length === 0) setImmediate(write);
        waiting.push({ line: `${JSON.stringify(entry)}\n`, done, failed });
      }),
    close: async () => {
      if (waiting.length > 0) write();
      closeSync(fd);
    },
  };
}

function writeWhole(fd: number, bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
}

function readBack(file: string, replay: (entry: Entry) => void): void {
  const text = readFileSync(file, 'utf8');
  const whole = text.lastIndexOf('\n') + 1;
  if (whole < text.length) truncateSync(file, Buffer.byteLength(text.slice(0, whole)));
  for (const line of text.slice(0, whole).split('\n')) if (line !== '') replay(JSON.parse(line) as Entry);
}
