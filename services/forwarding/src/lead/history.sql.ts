// Every statement about which history the source is in. On plain `pg` connections.
import type pg from 'pg';
import { isLetGo } from '../journal/expired-days.sql.ts';
import type { Raise } from '../journal/generations.ts';
import { parseLsn } from '../source/lsn.ts';
import { parseSnapshot } from '../source/pg-snapshot.ts';
import type { History, Mark } from '../source/remembered.ts';

/** Several times a minute at most; fails on a standby. */
export async function readHistory(
  client: pg.ClientBase,
): Promise<History & { readonly end: number; readonly flushed: number }> {
  const { rows } = await client.query<{
    system: string;
    timeline: number;
    generation: number;
    end: string;
    flushed: string;
  }>(
    `select system_identifier::text as system, (select generation from source_generation) as generation,
       ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int as timeline,
       pg_current_wal_insert_lsn()::text as end, pg_current_wal_flush_lsn()::text as flushed
     from pg_control_system()`,
  );
  const row = rows[0];
  if (row === undefined || row.generation === null) throw new Error('the source has no generation');
  return { ...row, end: parseLsn(row.end), flushed: parseLsn(row.flushed) };
}

/** Newest first. */
export async function readRaises(client: pg.ClientBase): Promise<Raise[]> {
  const { rows } = await client.query<{ generation: number; since: string; from: string }>(
    `select generation, since::text, to_char(replaced_from at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as from
     from generation_raised order by generation desc`,
  );
  return rows.map(({ generation, since, from }) => ({ generation, since: parseSnapshot(since), from }));
}

/**
 * What the source itself lets go is not missed: watermarks before the oldest that it keeps (another forwarder writes there too,
 * and whoever writes prunes), and events of a day that was let go. Index: the primary keys.
 */
export async function hasMark(client: pg.ClientBase, { watermark, event }: Mark): Promise<boolean> {
  const { rows } = await client.query<{ watermark: boolean; event: boolean }>(
    `select ($1::bigint is null or exists (select from journal_watermark where id = $1 and written_at = $2)
         or coalesce($1 < (select min(id) from journal_watermark), false)) as watermark,
       ($3::uuid is null or exists (select from order_event
         where merchant_id = $3 and order_id = $4 and version = $5 and occurred_at = $6)) as event`,
    [
      watermark?.id ?? null,
      watermark?.written_at ?? null,
      event?.merchant_id ?? null,
      event?.order_id ?? null,
      event?.version ?? null,
      event?.occurred_at ?? null,
    ],
  );
  const found = rows[0];
  if (found?.watermark !== true) return false;
  return found.event || (event !== null && (await isLetGo(client, event.order_id)));
}

/**
 * Before anything is written to a database whose history was replaced: its newest watermark is of the old history. One that
 * a dump brought along says nothing of this cluster's transactions, nor do those before it. Index: the primary key.
 */
export async function readNewestMark(client: pg.ClientBase): Promise<{ mark: Mark; snapshot: string } | undefined> {
  const { rows } = await client.query<{ id: string; written_at: string; snapshot: string }>(
    `select id::text, written_at::text, snapshot::text from journal_watermark where system = this_system()
     order by id desc limit 1`,
  );
  const row = rows[0];
  return row === undefined
    ? undefined
    : { mark: { watermark: { id: row.id, written_at: row.written_at }, event: null }, snapshot: row.snapshot };
}

/** If it is still the one that was judged; false: somebody else was quicker. Locks the generation's only row. */
export async function raiseGeneration(
  client: pg.ClientBase,
  raise: { from: number; to: number; since: string; reason: string; by: string },
): Promise<boolean> {
  const { rows } = await client.query<{ raised: boolean | null }>(
    'select raise_generation($1, $2, $3, $4, $5) as raised',
    [raise.from, raise.to, raise.since, raise.reason, raise.by],
  );
  return rows[0]?.raised === true;
}
