// What can become of a row that was not committed. Every client operation has three results: ok, failed and unknown.
import pg from 'pg';

/** Nothing was sent: the line in front of the statement is full. */
export class QueueFull extends Error {
  constructor(statement: string, waiting: number, cause?: unknown) {
    super(`${statement}: ${waiting} rows are waiting already`, { cause });
    this.name = 'QueueFull';
  }
}

/** Nothing was sent: the row's time passed while it waited. */
export class NotSent extends Error {
  constructor(statement: string, cause?: unknown) {
    super(`${statement}: the row's time passed before it was sent`, { cause });
    this.name = 'NotSent';
  }
}

/** This row alone fails, by itself, with this SQLSTATE; nothing of it is stored. */
export class RowRefused extends Error {
  readonly sqlstate: string;

  constructor(statement: string, sqlstate: string, cause: unknown) {
    super(`${statement}: refused with ${sqlstate}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
    this.name = 'RowRefused';
    this.sqlstate = sqlstate;
  }
}

/** Sent, and the connection was lost before the answer: it may be committed or not. */
export class CommitUnknown extends Error {
  constructor(statement: string, cause: unknown) {
    super(`${statement}: sent, and not known whether committed`, { cause });
    this.name = 'CommitUnknown';
  }
}

/** The backend is gone with its word, or the server takes nothing: nothing more is to be had on this connection. */
const LOST = new Set([
  '25006', // read only: a standby by now; the next connection may lead to the primary
  '25P04', // transaction timeout
  '53300', // no connection free
  '57P01', // shut down
  '57P02', // crash
  '57P03', // starting up
  '57P04', // database dropped
  '57P05', // idle session timeout
]);

/**
 * Those, class 08 (connection), and everything that is neither PostgreSQL's own word nor a mistake of ours: sockets,
 * time-outs, a server that refuses to be lossless.
 */
export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof TypeError || error instanceof RangeError) return false; // a value that cannot be a parameter
  if (!(error instanceof pg.DatabaseError)) return !(error instanceof Error && error.message.startsWith('BUG'));
  const code = error.code ?? '';
  return code.startsWith('08') || LOST.has(code);
}
