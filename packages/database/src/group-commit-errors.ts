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

/**
 * Classes 08 (connection), 57P (shutdown, crash, killed backend), 53300 (no connection free), and everything that is
 * neither PostgreSQL's own word nor a mistake of ours: sockets, time-outs, a server that refuses to be lossless.
 */
export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof TypeError || error instanceof RangeError) return false; // a value that cannot be a parameter
  if (!(error instanceof pg.DatabaseError)) return !(error instanceof Error && error.message.startsWith('BUG'));
  const code = error.code ?? '';
  return code.startsWith('08') || code === '57P01' || code === '57P02' || code === '57P03' || code === '53300';
}
