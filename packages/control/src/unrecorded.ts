// Tries that could not be audited because the control database was away: kept in a file, recorded when it is back.
import { appendFileSync, closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditEntry } from './control.sql.ts';

export interface Unrecorded {
  keep(entry: AuditEntry): void;
  /** Hands each kept entry to `recordOne`; what it rejects stays for the next time. Resolves to how many went. */
  drain(recordOne: (entry: AuditEntry) => Promise<void>): Promise<number>;
}

/** `directory` undefined: nothing is kept, the caller's own error is all there is. */
export function openUnrecorded(directory: string | undefined): Unrecorded {
  if (directory === undefined) return { keep: () => undefined, drain: async () => 0 };
  const file = join(directory, 'control-unrecorded.jsonl');
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
      if (!existsSync(file)) return 0;
      renameSync(file, taken); // two drains at once: the rename is won by one of them
      let recorded = 0;
      for (const line of readFileSync(taken, 'utf8').split('\n')) {
        if (line === '') continue;
        const entry = JSON.parse(line) as AuditEntry;
        try {
          await recordOne(entry);
          recorded++;
        } catch {
          keep(entry); // still away
        }
      }
      rmSync(taken);
      return recorded;
    },
  };
}
