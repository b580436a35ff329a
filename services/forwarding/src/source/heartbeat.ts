// Once a second, while this forwarder holds the source's slot: a watermark is written, a checkpoint is taken, and what was
// right at the start is looked at again (a publication can be dropped, a slot can fall behind).
import pg from 'pg';
import type { Checkpoint } from '../delivery/feed.ts';
import { readInsertLsn, readSnapshot } from '../delivery/journal.sql.ts';
import { parseSnapshot } from '../delivery/snapshot.ts';
import { parseLsn } from './lsn.ts';
import {
  insertWatermark,
  type Publication,
  pruneWatermarks,
  readPublication,
  readSlot,
  readWatermarkValue,
  type Slot,
} from './source.sql.ts';

export interface Beat {
  readonly checkpoint: Checkpoint;
  readonly slot: Slot | null;
  readonly publication: Publication;
  /** Source's clock minus ours, ms. */
  readonly clockOffset: number;
}

export interface HeartbeatOptions {
  readonly client: pg.ClientBase;
  readonly node: string;
  readonly slot: string;
  readonly publication: string;
}

/** An hour's worth: whoever looks at the table sees the last hour. */
const KEEP_WATERMARKS = 3_600;
const PRUNE_EVERY_BEATS = 60;

/** One beat at a time; rejects when the source is away. */
export function openHeartbeat({ client, node, slot, publication }: HeartbeatOptions): () => Promise<Beat> {
  let beats = 0;
  return async () => {
    const value = await readWatermarkValue(client);
    if (value !== undefined) await insertWatermark(client, node, value);
    if (beats++ % PRUNE_EVERY_BEATS === 0) await pruneWatermarks(client, KEEP_WATERMARKS);
    const sent = Date.now();
    const { text, at } = await readSnapshot(client);
    const clockOffset = at - (sent + Date.now()) / 2;
    const lsn = parseLsn(await readInsertLsn(client));
    return {
      checkpoint: { snapshot: parseSnapshot(text), lsn, at },
      slot: await readSlot(client, slot),
      publication: await readPublication(client, publication),
      clockOffset,
    };
  };
}

/** The connection for beats and checks: never more than a few statements a second, none of them long. */
export async function connectSource(connectionString: string, applicationName: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString,
    application_name: applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    query_timeout: STATEMENT_TIMEOUT_MS + SILENCE_MARGIN_MS,
    options: `-c TimeZone=UTC -c DateStyle=ISO -c statement_timeout=${STATEMENT_TIMEOUT_MS} -c lock_timeout=${LOCK_TIMEOUT_MS}`,
  });
  client.on('error', () => undefined); // the next statement on it fails, and is handled there
  await client.connect();
  return client;
}

const CONNECT_TIMEOUT_MS = 3_000;
/** Making a slot waits for every running transaction, and one may run for seconds. */
const STATEMENT_TIMEOUT_MS = 30_000;
const LOCK_TIMEOUT_MS = 1_000;
/** The server's own limit comes first; beyond it the server is not there any more. */
const SILENCE_MARGIN_MS = 2_000;
