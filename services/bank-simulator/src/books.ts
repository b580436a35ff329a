// A bank's own books: append-only JSON lines, on disk before each reply. The independent witness: whatever the services
// believe, this file says what the bank did. Replies that arrive together share one fsync.
import { closeSync, fdatasync, mkdirSync, openSync, readFileSync, truncateSync, write } from 'node:fs';
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
  const fd = openSync(file, 'a+');
  readBack(file, replay);
  let waiting: { line: string; done: () => void; failed: (error: Error) => void }[] = [];
  let writing = false;
  let drained: () => void = () => undefined;

  function pump(): void {
    if (writing || waiting.length === 0) return;
    writing = true;
    const batch = waiting;
    waiting = [];
    write(fd, batch.map((entry) => entry.line).join(''), (writeError) => {
      if (writeError !== null) return settle(batch, writeError);
      fdatasync(fd, (syncError) => settle(batch, syncError));
    });
  }

  function settle(batch: typeof waiting, error: Error | null): void {
    writing = false;
    for (const entry of batch) error === null ? entry.done() : entry.failed(error);
    pump();
    if (!writing) drained();
  }

  return {
    file,
    append: (entry) =>
      new Promise((done, failed) => {
        waiting.push({ line: `${JSON.stringify(entry)}\n`, done, failed });
        pump();
      }),
    close: async () => {
      if (writing) {
        await new Promise<void>((resolve) => {
          drained = resolve;
        });
      }
      closeSync(fd);
    },
  };
}

function readBack(file: string, replay: (entry: Entry) => void): void {
  const text = readFileSync(file, 'utf8');
  const whole = text.lastIndexOf('\n') + 1;
  if (whole < text.length) truncateSync(file, Buffer.byteLength(text.slice(0, whole)));
  for (const line of text.slice(0, whole).split('\n')) if (line !== '') replay(JSON.parse(line) as Entry);
}
