// Database time without a database: measured on each poll, carried on by the monotonic clock, and over a restart by the
// machine's uptime, so that an override expires when it should although nobody is there to ask, and a clock that was set
// an hour forward or back moves nothing.
import { existsSync, readFileSync } from 'node:fs';
import { uptime } from 'node:os';

/** Kept with the document, on disk. */
export interface TimeMark {
  readonly database_ms: number;
  readonly wall_ms: number;
  readonly uptime_s: number;
  readonly boot_id: string | null;
}

export interface DatabaseTime {
  now(): number;
  /** One round trip: monotonic ms before and after it, and what the database said between. */
  measured(before: number, after: number, databaseMs: number): void;
  /** From a mark made by an earlier process, until the first measurement. */
  resume(mark: TimeMark): void;
  mark(): TimeMark;
}

/** A slower round trip says too little about when the database read its clock. */
const SLOWEST_ROUND_TRIP_MS = 250;
const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id';

export function createDatabaseTime(): DatabaseTime {
  let offset = Date.now() - performance.now();
  let known = false;
  const now = () => performance.now() + offset;
  return {
    now,
    measured: (before, after, databaseMs) => {
      if (known && after - before > SLOWEST_ROUND_TRIP_MS) return;
      offset = databaseMs - (before + after) / 2;
      known = true;
    },
    resume: (mark) => {
      if (known) return;
      offset = mark.database_ms + elapsedSince(mark) - performance.now();
    },
    mark: () => ({ database_ms: now(), wall_ms: Date.now(), uptime_s: uptime(), boot_id: bootId() }),
  };
}

function elapsedSince(mark: TimeMark): number {
  const sameBoot = mark.boot_id !== null && mark.boot_id === bootId() && uptime() >= mark.uptime_s;
  // After a reboot only the wall clock is left; it never makes an override older than it was.
  return sameBoot ? (uptime() - mark.uptime_s) * 1_000 : Math.max(0, Date.now() - mark.wall_ms);
}

function bootId(): string | null {
  return existsSync(BOOT_ID_FILE) ? readFileSync(BOOT_ID_FILE, 'utf8').trim() : null;
}
