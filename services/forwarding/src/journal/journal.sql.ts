// Every statement that reads the journal, on plain `pg`, with every value as text. Reads only; locks nothing.
//
// A refill reads "what is not visible in snapshot A and is visible in snapshot B", partition by partition, a run of blocks
// at a time: a bounded amount of work each, whatever the rows look like, and close to the order in which they were
// written (the table is append-only). Where a partition begins to be of interest, the BRIN index on xid says.
//
// A row's own xid says when it was written, unless another cluster did: a journal restored from a dump names transaction
// ids that this cluster has yet to give out. Such a row counts by the transaction that put it here.
import type { Gap } from '@ballast/contracts';
import type pg from 'pg';
import type { PgSnapshot } from '../source/pg-snapshot.ts';
import { journalColumns } from './journal-row.ts';

type Row = readonly (string | null)[];

/** The low half of who put the row here, made whole by the next id to be given out. */
const writtenHere = `n.xid - mod(mod(n.xid - e.xmin::text::bigint, 4294967296) + 4294967296, 4294967296)`;
const xid = `case when e.xid < n.xid then e.xid else ${writtenHere} end`;
// `offset`: computed once, not for every row.
const next = `(select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xid offset 0) n`;
const columns = journalColumns.map((name) => (name === 'xid' ? `${xid} as xid` : `e.${name}`)).join(', ');

async function read(client: pg.ClientBase, text: string, values: unknown[]): Promise<Row[]> {
  const { rows } = await client.query<(string | null)[]>({ text, values, rowMode: 'array', types: asText });
  return rows;
}

const asText: pg.CustomTypesConfig = { getTypeParser: () => (value: string) => value };

/**
 * Read before the snapshot: whatever stands before this watermark is visible in it. The node's newest; undefined: it has none.
 * What other forwarders wrote is true of other routes. Index: the primary key.
 */
export async function readWatermark(client: pg.ClientBase, node: string): Promise<string | undefined> {
  const rows = await read(client, 'select value from journal_watermark where node = $1 order by id desc limit 1', [
    node,
  ]);
  return rows[0]?.[0] ?? undefined;
}

/**
 * The furthest that was ever vouched for: what a forwarder wrote that had been stopped before it stands last, and says less.
 * Index: journal_watermark_value.
 */
export async function readGreatestWatermark(client: pg.ClientBase, node: string): Promise<string | undefined> {
  const rows = await read(
    client,
    'select value from journal_watermark where node = $1 order by journal_watermark.value desc limit 1',
    [node],
  );
  return rows[0]?.[0] ?? undefined;
}

/**
 * `clock`: the source's, ms, just after the snapshot was taken. `at`: that, or the time of the newest watermark where the
 * clock has gone back since: what the snapshot sees was decided before it. Index: the primary key.
 */
export async function readSnapshot(client: pg.ClientBase): Promise<{ text: string; at: number; clock: number }> {
  const [row] = await read(
    client,
    `select pg_current_snapshot(), clock,
       greatest(clock, (select ${inMs('written_at')} from journal_watermark order by id desc limit 1))
     from (select ${inMs('clock_timestamp()')} as clock offset 0) c`,
    [],
  );
  return { text: row?.[0] ?? '', clock: Number(row?.[1]), at: Number(row?.[2]) };
}

function inMs(time: string): string {
  return `(extract(epoch from ${time}) * 1000)::float8`;
}

/**
 * Read after the snapshot: everything visible in it was committed before `inserted`. What lies behind `flushed` a crash may
 * still take away.
 */
export async function readLogEnd(client: pg.ClientBase): Promise<{ inserted: string; flushed: string }> {
  const [row] = await read(client, 'select pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()', []);
  return { inserted: row?.[0] ?? '', flushed: row?.[1] ?? '' };
}

/** Of a transaction that is still open. */
export interface Holder {
  readonly who: string;
  readonly state: string;
  readonly ageSeconds: number;
}

/** Undefined: it is not open any more. */
export async function readHolder(client: pg.ClientBase, xid: number): Promise<Holder | undefined> {
  const [row] = await read(
    client,
    `select concat_ws(' ', application_name, 'pid ' || pid), coalesce(state, '-'),
       extract(epoch from clock_timestamp() - xact_start)::int
     from pg_stat_activity where backend_xid = ($1::text::xid8)::xid
     union all
     select 'prepared ' || gid, 'prepared', extract(epoch from clock_timestamp() - prepared)::int
     from pg_prepared_xacts where transaction = ($1::text::xid8)::xid`,
    [xid],
  );
  return row === undefined ? undefined : { who: row[0] ?? '', state: row[1] ?? '', ageSeconds: Number(row[2]) };
}

export interface Stretch {
  /** Quoted as needed. */
  readonly partition: string;
  readonly fromBlock: number;
  readonly toBlock: number;
}

/** The blocks that may hold rows of transactions from `xid` on. Index: order_event_xid (BRIN) of each partition. */
export async function readStretches(client: pg.ClientBase, xid: number): Promise<Stretch[]> {
  const rows = await read(
    client,
    `select p.name, f.block, p.blocks
     from (${partitions}) p
     join (
       select tableoid as id, (min(ctid)::text::point)[0]::bigint as block from order_event where xid >= $1 group by tableoid
     ) f using (id)
     order by p.name`,
    [xid],
  );
  return rows.map(stretchOf);
}

/** All of it, without looking first. */
export async function readWholeStretches(client: pg.ClientBase): Promise<Stretch[]> {
  return (await read(client, `select name, 0, blocks from (${partitions}) p order by name`, [])).map(stretchOf);
}

const partitions = `select i.inhrelid as id, i.inhrelid::regclass::text as name,
  pg_relation_size(i.inhrelid) / current_setting('block_size')::int as blocks
  from pg_inherits i where i.inhparent = 'order_event'::regclass`;

function stretchOf([name, from, to]: Row): Stretch {
  return { partition: name ?? '', fromBlock: Number(from), toBlock: Number(to) };
}

/** Lets the BRIN index know of what was appended since the last vacuum, where this role may: else those blocks are read. */
export async function summarizeXids(client: pg.ClientBase): Promise<void> {
  await client.query(
    `select brin_summarize_new_values(x.indexrelid)
     from pg_inherits i
     join pg_index x on x.indrelid = i.inhrelid
     join pg_class c on c.oid = x.indexrelid
     join pg_am m on m.oid = c.relam and m.amname = 'brin'
     where i.inhparent = 'order_event'::regclass and has_table_privilege(i.inhrelid, 'maintain')`,
  );
}

/** Rows of these blocks that `since` does not see and `until` does, as they stand. A scan of that range of tids. */
export async function readBlocks(
  client: pg.ClientBase,
  stretch: Stretch,
  since: PgSnapshot,
  until: PgSnapshot,
): Promise<Row[]> {
  return read(
    client,
    `select ${columns} from ${stretch.partition} e, ${next}
     where e.ctid >= $1::tid and e.ctid < $2::tid
       and ${xid} >= $3 and (${xid} >= $4 or not pg_visible_in_snapshot((${xid})::text::xid8, $5::pg_snapshot))
       and ${xid} < $6 and (${xid} < $7 or pg_visible_in_snapshot((${xid})::text::xid8, $8::pg_snapshot))`,
    [
      `(${stretch.fromBlock},0)`,
      `(${stretch.toBlock},0)`,
      since.xmin,
      since.xmax,
      since.text,
      until.xmax,
      until.xmin,
      until.text,
    ],
  );
}

/**
 * Earlier events of the same orders that stand in later blocks: space of a page that was left over can be filled later.
 * Index: the partition's primary key.
 */
export async function readPredecessors(
  client: pg.ClientBase,
  stretch: Stretch,
  orders: readonly { readonly merchant_id: string; readonly order_id: string; readonly version: number }[],
  since: PgSnapshot,
  until: PgSnapshot,
): Promise<Row[]> {
  return read(
    client,
    `select ${columns}
     from ${next}, unnest($1::uuid[], $2::uuid[], $3::int[]) as g(merchant_id, order_id, version)
     join ${stretch.partition} e on e.merchant_id = g.merchant_id and e.order_id = g.order_id and e.version < g.version
     where e.ctid >= $4::tid and not pg_visible_in_snapshot((${xid})::text::xid8, $5::pg_snapshot)
       and pg_visible_in_snapshot((${xid})::text::xid8, $6::pg_snapshot)`,
    [
      orders.map((order) => order.merchant_id),
      orders.map((order) => order.order_id),
      orders.map((order) => order.version),
      `(${stretch.toBlock},0)`,
      since.text,
      until.text,
    ],
  );
}

/** The versions between, order by order. Index: the primary key; the bounds on order_id prune the partitions. */
export async function readGaps(client: pg.ClientBase, gaps: readonly Gap[], limit: number): Promise<Row[]> {
  const orders = gaps.map((gap) => gap.order_id).sort();
  return read(
    client,
    `select ${columns}
     from ${next}, unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[]) as g(merchant_id, order_id, after_version, before_version)
     join order_event e on e.merchant_id = g.merchant_id and e.order_id = g.order_id
       and e.version > g.after_version and e.version < g.before_version
     where e.order_id >= $5::uuid and e.order_id <= $6::uuid
     order by e.order_id, e.version
     limit $7`,
    [
      gaps.map((gap) => gap.merchant_id),
      gaps.map((gap) => gap.order_id),
      gaps.map((gap) => gap.after_version),
      gaps.map((gap) => gap.before_version),
      orders[0],
      orders[orders.length - 1],
      limit,
    ],
  );
}
