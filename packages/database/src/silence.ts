// A server that says nothing any more is left. A machine that vanishes closes nothing: the kernel would tell of it after a
// quarter of an hour (tcp_retries2), and whoever waits for an answer would hold a place in a line until then.
//
// One watch for each connection, on the socket's own idle timer: it costs a query no closure and no timer of its own. pg's
// `query_timeout` does (lane.ts), and it leaves the connection open, with the unanswered query in front of the next one.
//
// Where one connection was left, those that were open with it lead to the same machine, and each would take its own time to
// show it: commit 1 would be back, and commit 2 not. They are left too, when they are next wanted.
import { Socket } from 'node:net';
import type pg from 'pg';

/** The server's own limit comes first; beyond it the server is not there any more, or waits for a standby that is not. */
const SILENCE_MARGIN_MS = 1_000;

/** Monotonic ms. */
const connectedAt = new WeakMap<pg.Client, number>();
/** By address: since when nothing was said, the last time that a server was left. */
const silentSince = new Map<string, number>();

const addressOf = ({ host, port }: pg.Client): string => `${host}:${port}`;

/**
 * For a client that is connected. `statementTimeoutMs` is the connection's own `statement_timeout`: a server that lives has
 * said something by then. 0 stands for no limit, and then there is none here either. An idle connection is left alone, also
 * inside a transaction.
 */
export function leaveWhenSilent(client: pg.Client, statementTimeoutMs: number): void {
  const socket = client.connection.stream;
  if (!(socket instanceof Socket)) throw new Error('BUG: a connection without a socket');
  connectedAt.set(client, performance.now());
  if (statementTimeoutMs === 0) return;
  const limitMs = statementTimeoutMs + SILENCE_MARGIN_MS;
  /** Whatever was written up to here is answered. */
  let answered = socket.bytesWritten;
  client.on('drain', () => {
    answered = socket.bytesWritten;
  });
  socket.setTimeout(limitMs);
  socket.on('timeout', () => {
    if (socket.bytesWritten === answered) return;
    // After a stall of our own, timers run before what arrived meanwhile is read: it is looked at once more when it was.
    const heard = socket.bytesRead;
    setImmediate(() => {
      if (socket.bytesRead !== heard) return;
      silentSince.set(addressOf(client), performance.now() - limitMs);
      socket.destroy(Object.assign(new Error('the server does not answer'), { code: 'ETIMEDOUT' }));
    });
  });
}

/** Whether the client was connected before its server fell silent; it is closed then, without a goodbye that nobody answers. */
export function leaveIfGone(client: pg.Client): boolean {
  const since = silentSince.get(addressOf(client));
  if (since === undefined || (connectedAt.get(client) ?? 0) > since) return false;
  client.connection.stream.destroy();
  return true;
}
