// Connections to a source: to whichever of its servers is the primary, with a limit on every wait, so that a machine that
// vanished without a word is noticed and left within seconds.
import type { Socket } from 'node:net';
import pg from 'pg';

/** Where a source is at the moment. */
export interface Primary {
  readonly url: string;
  readonly client: pg.Client;
}

const CONNECT_TIMEOUT_MS = 3_000;
/** A beat's statements take a millisecond each. */
const STATEMENT_TIMEOUT_MS = 4_000;
/** The server's own limit comes first; beyond it the server is not there any more. */
const SILENCE_MARGIN_MS = 1_000;
const LOCK_TIMEOUT_MS = 1_000;
/** A slot begins where every transaction that runs now has ended, and one may run for seconds. */
const SLOT_TIMEOUT_MS = 60_000;
const GOODBYE_MS = 300;

/** The connection for beats and checks: never more than a few statements a second, none of them long. */
function connectSource(url: string, applicationName: string): Promise<pg.Client> {
  return connect(url, applicationName, STATEMENT_TIMEOUT_MS, LOCK_TIMEOUT_MS);
}

/** For making a slot: it waits for other people's transactions by their locks, which is no reason to give up. */
export function connectForSlot(url: string, applicationName: string): Promise<pg.Client> {
  return connect(url, applicationName, SLOT_TIMEOUT_MS, 0);
}

async function connect(
  connectionString: string,
  applicationName: string,
  statementTimeoutMs: number,
  lockTimeoutMs: number,
): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString,
    application_name: applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    query_timeout: statementTimeoutMs + SILENCE_MARGIN_MS,
    options: `-c TimeZone=UTC -c DateStyle=ISO -c statement_timeout=${statementTimeoutMs} -c lock_timeout=${lockTimeoutMs}`,
  });
  client.on('error', () => undefined); // the next statement on it fails, and is handled there
  await client.connect();
  return client;
}

/**
 * After a failover two servers may answer, and the old one does not know that it is not the primary any more: the highest
 * timeline is followed. Rejects with what the first server said when none is a primary.
 */
export async function connectPrimary(urls: readonly string[], applicationName: string): Promise<Primary> {
  const tried = await Promise.allSettled(
    urls.map(async (url) => {
      const client = await connectSource(url, applicationName);
      try {
        return { url, client, timeline: await readTimeline(client) };
      } catch (error) {
        await disconnect(client);
        throw error;
      }
    }),
  );
  const found = tried.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const [primary, ...others] = found.sort((a, b) => b.timeline - a.timeline);
  await Promise.all(others.map(({ client }) => disconnect(client)));
  if (primary !== undefined) return primary;
  const [first] = tried;
  throw first?.status === 'rejected' ? first.reason : new Error('BUG: a source without a server');
}

async function readTimeline(client: pg.ClientBase): Promise<number> {
  const { rows } = await client.query<{ timeline: number | null }>(
    `select case when pg_is_in_recovery() then null
       else ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int end as timeline`,
  );
  const timeline = rows[0]?.timeline ?? null;
  if (timeline === null) throw new Error('the server is a standby');
  return timeline;
}

/** Says goodbye, and does not wait for an answer from a machine that is gone. */
export async function disconnect(client: pg.ClientBase): Promise<void> {
  const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
  // What is not answered in time, or was broken already, is closed all the same.
  await within(GOODBYE_MS, 'a goodbye', (client as pg.Client).end()).catch(() => undefined);
  stream.destroy();
}

/** Rejects after the limit; the work itself is its owner's to stop. */
export async function within<T>(limitMs: number, what: string, work: Promise<T>): Promise<T> {
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(() => limit.reject(new Error(`waited ${limitMs} ms for ${what}`)), limitMs);
  try {
    return await Promise.race([work, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}
