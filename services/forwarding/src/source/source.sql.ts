// Every statement on the source database that is not the journal itself: what is checked before it is trusted, the slot,
// the watermarks. On plain `pg` connections.
import type pg from 'pg';
import type { Mark } from './remembered.ts';

export interface Publication {
  /** Why this source cannot be forwarded as it is configured; null: it can. The server only warns of some of these. */
  readonly wrong: string | null;
  /** Another one after every change: what was written meanwhile may be missing from the log. */
  readonly state: string;
}

export async function readPublication(client: pg.ClientBase, publication: string): Promise<Publication> {
  const { rows } = await client.query<{ state: string }>(
    `select ${publicationState} as state from pg_publication p where p.pubname = $1`,
    [publication],
  );
  return { wrong: await findMisconfiguration(client, publication), state: rows[0]?.state ?? 'none' };
}

/** Of `p`, in pg_publication. */
const publicationState = `concat_ws(' ', p.oid, p.xmin, (select string_agg(concat(r.oid, '/', r.xmin), ' ' order by r.oid)
       from pg_publication_rel r where r.prpubid = p.oid))`;

async function findMisconfiguration(client: pg.ClientBase, publication: string): Promise<string | null> {
  const { rows: settings } = await client.query<{ wal_level: string; track: string; sees_all: boolean }>(
    `select current_setting('wal_level') as wal_level, current_setting('track_activities') as track,
       pg_has_role('pg_read_all_stats', 'usage') as sees_all`,
  );
  const setting = settings[0];
  if (setting?.wal_level !== 'logical') return `wal_level is ${setting?.wal_level}, logical is needed`;
  if (setting.track !== 'on') return 'track_activities is off: watermarks could pass a running transaction';
  if (!setting.sees_all)
    return 'this role is no member of pg_read_all_stats: watermarks could pass a transaction unseen';
  const { rows } = await client.query<{ complete: boolean; insert_only: boolean; via_root: boolean; tables: string[] }>(
    `select p.pubinsert as complete, not (p.pubupdate or p.pubdelete or p.pubtruncate) as insert_only,
       p.pubviaroot as via_root,
       coalesce((select array_agg(tablename::text) from pg_publication_tables t where t.pubname = p.pubname
         and t.rowfilter is null), '{}') as tables
     from pg_publication p where p.pubname = $1`,
    [publication],
  );
  const found = rows[0];
  if (found === undefined) return `there is no publication ${publication}`;
  if (!found.complete || !found.insert_only)
    return `publication ${publication} does not publish inserts and nothing else`;
  if (!found.via_root) return `publication ${publication} does not publish through the partition root`;
  for (const table of ['order_event', 'journal_watermark', 'generation_raised'])
    if (!found.tables.includes(table)) return `publication ${publication} lacks ${table}`;
  return null;
}

export interface Slot {
  readonly plugin: string | null;
  readonly here: boolean;
  readonly active: boolean;
  readonly wal_status: string;
  readonly confirmed: string | null;
  readonly retained_bytes: string;
  readonly safe_bytes: string | null;
}

export async function readSlot(client: pg.ClientBase, slot: string): Promise<Slot | null> {
  const { rows } = await client.query<Slot>(
    `select plugin, coalesce(database = current_database(), false) as here, active, coalesce(wal_status, 'lost') as wal_status,
       confirmed_flush_lsn::text as confirmed,
       greatest(0, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0))::text as retained_bytes,
       safe_wal_size::text as safe_bytes
     from pg_replication_slots where slot_name = $1`,
    [slot],
  );
  return rows[0] ?? null;
}

/** Waits until every transaction that runs has ended. `failover`: a standby may keep it in step. */
export async function createSlot(client: pg.ClientBase, slot: string): Promise<void> {
  await client.query(`select pg_create_logical_replication_slot($1, 'pgoutput', false, false, true)`, [slot]);
}

export async function dropSlot(client: pg.ClientBase, slot: string): Promise<void> {
  await client.query('select pg_drop_replication_slot($1)', [slot]);
}

/** A cap keeps a dead forwarder from filling the payment database's disk. */
export async function hasSlotCap(client: pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ capped: boolean }>(
    `select setting::bigint >= 0 as capped from pg_settings where name = 'max_slot_wal_keep_size'`,
  );
  return rows[0]?.capped ?? false;
}

/**
 * What a failover could lose of what is forwarded. Null: nothing, because commits wait for a synchronous standby, and the
 * log of this slot is sent only when the standby whose slot is named has it.
 */
export async function findUnguarded(client: pg.ClientBase, slot: string): Promise<string | null> {
  const { rows } = await client.query<{ standbys: string; slots: string; failover: boolean | null }>(
    `select current_setting('synchronous_standby_names') as standbys,
       current_setting('synchronized_standby_slots') as slots,
       (select failover from pg_replication_slots where slot_name = $1) as failover`,
    [slot],
  );
  const found = rows[0];
  if (found?.standbys === '') return 'no synchronous standby (synchronous_standby_names is empty)';
  if (found?.slots === '') return 'synchronized_standby_slots is empty: the log is sent before a standby has it';
  return found?.failover === false ? `slot ${slot} is not kept on standbys (failover is off)` : null;
}

/** A transaction id of our own: every transaction that was given one before has a smaller one. */
export async function takeXid(client: pg.ClientBase): Promise<number> {
  const { rows } = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
  return Number(rows[0]?.xid);
}

/**
 * The watermark's value, in two statements that must stay in this order and come before the insert: the clock first, then
 * the start of the oldest transaction that still runs. What was decided before the lesser of them has been committed, so
 * it stands before the row inserted afterwards. Not while there is a prepared transaction, whose start is not known, or a
 * session of which this role sees nothing: without `pg_read_all_stats` that is everybody else's, and looks like nobody.
 * All client sessions count, not only those of the runtime roles: more is only later, never wrong.
 */
export async function readWatermarkValue(
  client: pg.ClientBase,
): Promise<{ readonly value: string; readonly prepared: boolean; readonly hidden: boolean }> {
  const { rows: clock } = await client.query<{ now: string }>('select clock_timestamp()::text as now');
  const { rows } = await client.query<{ value: string; prepared: boolean; hidden: boolean }>(
    `select least($1::timestamptz, min(xact_start))::text as value,
       exists (select from pg_prepared_xacts where database = current_database()) as prepared,
       coalesce(bool_or(backend_type is null), false) as hidden
     from pg_stat_activity
     where datname = current_database() and coalesce(backend_type, 'client backend') = 'client backend'
       and pid <> pg_backend_pid()`,
    [clock[0]?.now],
  );
  if (rows[0] === undefined) throw new Error('BUG: an aggregate without its row');
  return rows[0];
}

/**
 * Null: the publication is not as it was known, and the log may leave out what the row would vouch for. In one statement: a
 * change that it does not see yet is of a transaction that still ran when the value was read, so the value is older.
 *
 * Null also while the clock is behind the newest watermark's (it went back, or a failover went to a machine whose clock is
 * behind): what is decided now was vouched for already, and no more is added to that. Index: the primary key.
 */
export async function insertWatermark(
  client: pg.ClientBase,
  { node, value, publication, state }: { node: string; value: string; publication: string; state: string },
): Promise<Mark['watermark']> {
  const { rows } = await client.query<{ id: string; written_at: string }>(
    `insert into journal_watermark (node, value)
     select $1, $2 from pg_publication p where p.pubname = $3 and ${publicationState} = $4
       and coalesce((select written_at <= clock_timestamp() from journal_watermark order by id desc limit 1), true)
     returning id::text, written_at::text`,
    [node, value, publication, state],
  );
  return rows[0] ?? null;
}

/** Keeps the last so many. Index: the primary key. */
export async function pruneWatermarks(client: pg.ClientBase, keep: number): Promise<void> {
  await client.query('delete from journal_watermark where id <= (select max(id) - $1::bigint from journal_watermark)', [
    keep,
  ]);
}
