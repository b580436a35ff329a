// The database is away, or too slow: the caller is told to come back, and nobody looks for a bug.

/** SQLSTATE: connection lost, out of resources, input and output, shutting down, read-only, cut short by a time limit. */
const AWAY = /^(08|53|57P|57014|58|55P03|25006|25P04)/;
const SQLSTATE = /^[0-9A-Z]{5}$/;
/** Node's, pg's and knex's names for the same. */
const AWAY_ELSEWHERE = /ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|[Cc]onnection (terminated|error)|[Tt]imeout/;

interface Reason {
  readonly code?: unknown;
  /** Of a row refused by a group commit. */
  readonly sqlstate?: unknown;
  readonly message?: string;
  readonly name?: string;
}

export function isDatabaseAway(error: unknown): boolean {
  const { code = '', sqlstate = code, message = '', name = '' } = (error ?? {}) as Reason;
  // A SQLSTATE decides alone: a message may quote anything.
  if (typeof sqlstate === 'string' && SQLSTATE.test(sqlstate)) return AWAY.test(sqlstate);
  return AWAY_ELSEWHERE.test(`${code} ${name} ${message}`);
}
