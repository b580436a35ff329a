// Tries that could not be audited because the control database was away: kept in a file, recorded when it is back.
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import type { AuditEntry } from './control.sql.ts';

export interface Unrecorded {
  keep(entry: AuditEntry): void;
  /** Hands each kept entry to `recordOne`; what it rejects stays for the next time. */
  drain(recordOne: (entry: AuditEntry) => Promise<void>): Promise<void>;
}

const FILE = 'control-unrecorded.jsonl';
/** A file that somebody took to record and left: they were killed. */
const ABANDONED_MS = 60_000;

/** `directory` undefined: nothing is kept, the caller's own error is all there is. */
export function openUnrecorded(directory: string | undefined): Unrecorded {
  if (directory === undefined) return { keep: () => undefined, drain: async () => undefined };

  const file = join(directory, FILE);
  const taken = `${file}.${process.pid}`;

  function keep(entry: AuditEntry): void {
    const failedAt = entry.details['failed_at'] ?? new Date().toISOString();
    const fd = openSync(file, 'a', 0o600);
    try {
      appendFileSync(fd, `${JSON.stringify({ ...entry, details: { ...entry.details, failed_at: failedAt } })}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  return {
    keep,
    drain: async (recordOne) => {
      for (const waiting of waitingIn(directory)) {
        renameSync(waiting, taken); // two drains at once: one of them wins it
        for (const line of readFileSync(taken, 'utf8')
          .split('\n')
          .filter((text) => text !== '')) {
          const entry = JSON.parse(line) as AuditEntry;
          await recordOne(entry).catch(() => keep(entry)); // still away
        }
        rmSync(taken);
      }
    },
  };
}

function waitingIn(directory: string): string[] {
  const isAbandoned = (file: string) => Date.now() - statSync(file).mtimeMs > ABANDONED_MS;
  return readdirSync(directory)
    .filter((name) => name.startsWith(FILE))
    .map((name) => join(directory, name))
    .filter((file) => file.endsWith(FILE) || isAbandoned(file));
}
