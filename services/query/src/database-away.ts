// The database is away, or too slow: the caller is told to come back, and nobody looks for a bug.
import { Problem } from '@ballast/contracts';

const RETRY_AFTER_SECONDS = 1;
/** SQLSTATE: connection lost, out of connections, shutting down, cut short by a time limit. */
const AWAY = /^(08|53|57P|57014|55P03|25P04)/;
/** Node's and knex's names for the same. */
const AWAY_ELSEWHERE = /ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|[Cc]onnection terminated|[Tt]imeout/;

/** The same promise, but what says "away" becomes Problem `database_unavailable` (503). */
export async function orUnavailable<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!isAway(error)) throw error;
    throw new Problem('database_unavailable', 'The read model did not answer; the same request may be sent again.', {
      retryAfterSeconds: RETRY_AFTER_SECONDS,
      cause: error,
    });
  }
}

function isAway(error: unknown): boolean {
  const { code = '', message = '', name = '' } = (error ?? {}) as { code?: unknown; message?: string; name?: string };
  // A SQLSTATE decides alone: a message may quote anything.
  if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code)) return AWAY.test(code);
  return AWAY_ELSEWHERE.test(`${code} ${name} ${message}`);
}
