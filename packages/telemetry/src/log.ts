// JSON lines by pino. What must never be written is removed twice: by the name of its field, and by its shape.
import { type Logger, pino } from 'pino';
import { scrub } from './scrub.ts';

export type { Logger } from 'pino';

/** Fields that hold a secret wherever they stand, at the top and one level down. */
const SECRET_FIELDS = new Set([
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
]);
const REMOVED = '[removed]';

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

/** Writes to stdout. `time, level, service, msg` and whatever the line adds. */
export function createLogger({ service, instance, level }: LogOptions): Logger {
  return pino(
    {
      level,
      base: { service, ...(instance === undefined ? {} : { instance }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: withoutSecrets },
      hooks: { streamWrite: scrub },
    },
    destination,
  );
}

type Fields = Record<string, unknown>;

/** pino's own redaction by path costs more than the rest of the line; most lines have nothing to remove, and are not copied. */
function withoutSecrets(line: Fields): Fields {
  let clean = line;
  for (const [name, value] of Object.entries(line)) {
    const kept = SECRET_FIELDS.has(name) ? REMOVED : isPlain(value) ? withoutSecretsInside(value) : value;
    if (kept === value) continue;
    if (clean === line) clean = { ...line };
    clean[name] = kept;
  }
  return clean;
}

function withoutSecretsInside(fields: Fields): Fields {
  if (!Object.keys(fields).some((name) => SECRET_FIELDS.has(name))) return fields;
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, SECRET_FIELDS.has(name) ? REMOVED : value]),
  );
}

/** An Error has a serializer of its own, and its `code` is a reason, not a payment code. */
function isPlain(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
