// JSON lines by pino. What must never be written is removed twice: by the name of its field, and by its shape.
import { type Logger, pino } from 'pino';
import { scrub } from './scrub.ts';

export type { Logger } from 'pino';

/** Fields that hold a secret wherever they stand, at the top and one level down. */
const SECRET_FIELDS = [
  'number',
  'track2',
  'cvv',
  'pin_block',
  'code',
  'authorization',
  'secret',
  'password',
  'token',
  'signature',
  'database_url',
];

export interface LogOptions {
  readonly service: string;
  readonly instance?: string;
  readonly level: string;
}

/**
 * Lines are written in the background: while one write is under way the next lines gather, so a line per payment costs no
 * system call of its own. What is still here when the process ends is written by `flushLog`.
 */
const destination = pino.destination({ fd: 1, sync: false });

/** Writes what is still in memory; before the process exits. */
export function flushLog(): void {
  destination.flushSync();
}

/** Writes to stdout. `time, level, service, msg` and whatever the line adds (interfaces.md, "Metrics and logs"). */
export function createLogger({ service, instance, level }: LogOptions): Logger {
  return pino(
    {
      level,
      base: { service, ...(instance === undefined ? {} : { instance }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), censor: '[removed]' },
      hooks: { streamWrite: scrub },
    },
    destination,
  );
}
