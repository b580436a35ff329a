// The last known document on local disk: written beside its place, synced, renamed, and the folder synced, so that a
// crash at any moment leaves the old copy or the new one.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { TimeMark } from './database-time.ts';
import type { ControlDocument } from './document.ts';

export interface KeptCopy {
  readonly format: 1;
  readonly time: TimeMark;
  readonly document: ControlDocument;
}

const FILE = 'control.json';

export function writeKeptCopy(directory: string, copy: KeptCopy): void {
  mkdirSync(directory, { recursive: true });
  const place = join(directory, FILE);
  const beside = `${place}.${process.pid}`;
  const fd = openSync(beside, 'w', 0o600);
  try {
    writeFileSync(fd, JSON.stringify(copy));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(beside, place);
  const folder = openSync(directory, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** The parsed JSON, not yet judged; undefined where there is none. Throws where it cannot be read. */
export function readKeptCopy(directory: string): unknown {
  const place = join(directory, FILE);
  return existsSync(place) ? JSON.parse(readFileSync(place, 'utf8')) : undefined;
}

/** Its time mark, where the value looks like a kept copy at all. */
export function timeMarkOf(value: unknown): TimeMark | undefined {
  const time = (value as { time?: Partial<TimeMark> } | null | undefined)?.time;
  const numbers = [time?.database_ms, time?.wall_ms, time?.uptime_s];
  return numbers.every((number) => typeof number === 'number' && Number.isFinite(number))
    ? { ...(time as TimeMark), boot_id: typeof time?.boot_id === 'string' ? time.boot_id : null }
    : undefined;
}
