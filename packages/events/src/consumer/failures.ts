// Is it this event, or is it everything? Only what an event itself causes may park it.
import pg from 'pg';

/** Another process moved one of these orders meanwhile; nothing was applied, read again. */
export class Overtaken extends Error {
  constructor(count: number) {
    super(`${count} orders were moved by another consumer meanwhile`);
    this.name = 'Overtaken';
  }
}

/**
 * - `again`: somebody else went first, or a deadlock: the same transaction once more.
 * - `smaller`: it took too long as a batch.
 * - `unavailable`: the database; nothing is known about the event, its sender keeps it.
 * - `poison`: the event.
 */
export type Failure = 'again' | 'smaller' | 'unavailable' | 'poison';

const byClass: Readonly<Record<string, Failure>> = {
  '08': 'unavailable', // connection
  '25': 'unavailable', // read-only
  '28': 'unavailable', // login refused
  '40': 'again', // serialization, deadlock
  '42': 'unavailable', // a column that is not there yet, a right that is not there any more: every event meets it
  '53': 'unavailable', // disk full, out of memory, too many connections
  '55': 'again', // lock not available
  '57': 'unavailable', // shutdown, crash, cancelled
  '58': 'unavailable', // input and output
  '3D': 'unavailable', // no such database
  XX: 'unavailable', // internal, corrupted
};
const KNEX_SEPARATOR = ' - ';
const MOST_CHARACTERS = 2_000;
/** A statement, or the whole transaction. */
const outOfTime = new Set(['57014', '25P04']);
/** A statement of `apply` failed, and `apply` went on: its bug, not the database's. */
const TRANSACTION_ABORTED = '25P02';
const connectionErrors = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EHOSTUNREACH']);

export function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return 'poison';
  if (error instanceof Overtaken) return 'again';
  if (error instanceof pg.DatabaseError) {
    if (outOfTime.has(error.code ?? '')) return 'smaller';
    if (error.code === TRANSACTION_ABORTED) return 'poison';
    return byClass[(error.code ?? '').slice(0, 2)] ?? 'poison';
  }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const lost =
    connectionErrors.has(code) ||
    error.name === 'KnexTimeoutError' ||
    error.name === 'AggregateError' || // every address of the host refused
    /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Unable to acquire a connection/.test(
      error.message,
    );
  return lost ? 'unavailable' : 'poison';
}

/**
 * Why an event was parked, for a table and a log that people read: of a database error its SQLSTATE and PostgreSQL's own
 * message. Knex puts the statement with all its values before it, which may be a merchant's data.
 */
export function reasonOf(error: unknown): string {
  return wordsOf(error).replaceAll('\0', '').slice(0, MOST_CHARACTERS); // a text of PostgreSQL has no NUL
}

function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (!(error instanceof pg.DatabaseError)) return error.message;
  const end = error.message.lastIndexOf(KNEX_SEPARATOR);
  const own = end === -1 ? error.message : error.message.slice(end + KNEX_SEPARATOR.length);
  return `${error.code ?? 'no SQLSTATE'}: ${own}`;
}
