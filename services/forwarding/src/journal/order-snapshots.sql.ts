// Every statement on the source's orders, on plain `pg`, with every value as text. The source says what a snapshot of an order
// is (its view order_snapshot: a row as in the journal); the days are the partitions of `orders`, read a run of blocks at a
// time. A row that moves to another block meanwhile was changed, and its event is on its way. Reads only; locks nothing.
import type pg from 'pg';
import type { PgSnapshot } from '../source/pg-snapshot.ts';
import { journalColumns } from './journal-row.ts';

export interface OrderDay {
  /** Quoted as needed. */
  readonly partition: string;
  /** Of order ids: from the first on, below the second. */
  readonly fromId: string;
  readonly toId: string;
  readonly blocks: number;
  readonly hasJournal: boolean;
}

export interface OrderKey {
  readonly merchant_id: string;
  readonly order_id: string;
}

const SAYS_WHAT = `to_regclass('order_snapshot') is not null`;

/** The partitions of orders, the oldest first, and whether the journal has one of the same bounds. None: no source of orders. */
export async function readOrderDays(client: pg.ClientBase): Promise<OrderDay[]> {
  const { rows } = await client.query<{ partition: string; bounds: string; blocks: string; has_journal: boolean }>(
    `with part as (
       select i.inhparent as parent, c.oid, pg_get_expr(c.relpartbound, c.oid) as bounds
       from pg_inherits i join pg_class c on c.oid = i.inhrelid
       where i.inhparent in (to_regclass('orders'), to_regclass('order_event')) and not i.inhdetachpending
     )
     select o.oid::regclass::text as partition, o.bounds, pg_relation_size(o.oid) / current_setting('block_size')::int as blocks,
       exists (select from part e where e.parent = to_regclass('order_event') and e.bounds = o.bounds) as has_journal
     from part o where o.parent = to_regclass('orders') and ${SAYS_WHAT} order by o.bounds`,
  );
  return rows.flatMap(({ partition, bounds, blocks, has_journal: hasJournal }) => {
    const [, fromId, toId] = /FROM \('(.+)'\) TO \('(.+)'\)/.exec(bounds) ?? [];
    if (fromId === undefined || toId === undefined)
      throw new Error(`the bounds of ${partition} cannot be read: ${bounds}`);
    return [{ partition, fromId, toId, blocks: Number(blocks), hasJournal }];
  });
}

/**
 * In these blocks of a day without a journal: orders whose row was written by a transaction that `since` does not see. A scan
 * of that range of tids.
 */
export async function readChanged(
  client: pg.ClientBase,
  { partition }: OrderDay,
  blocks: readonly [from: number, to: number],
  since: PgSnapshot,
): Promise<OrderKey[]> {
  const { rows } = await client.query<OrderKey>(
    `select merchant_id::text, order_id::text from ${partition}
     where ctid >= $1::tid and ctid < $2::tid
       and not pg_visible_in_snapshot(greatest(whole_xid(xmin), 1)::text::xid8, $3::pg_snapshot)`,
    [`(${blocks[0]},0)`, `(${blocks[1]},0)`, since.text],
  );
  return rows;
}

/** In these blocks: orders that have fewer events than versions. Index: the primary key of the day's journal. */
export async function readIncomplete(
  client: pg.ClientBase,
  { partition, fromId, toId }: OrderDay,
  blocks: readonly [from: number, to: number],
): Promise<OrderKey[]> {
  const { rows } = await client.query<OrderKey>(
    `select merchant_id::text, order_id::text from ${partition} o
     where ctid >= $1::tid and ctid < $2::tid
       and version > (select count(*) from order_event e
         where e.merchant_id = o.merchant_id and e.order_id = o.order_id
           and e.order_id >= $3::uuid and e.order_id < $4::uuid)`,
    [`(${blocks[0]},0)`, `(${blocks[1]},0)`, fromId, toId],
  );
  return rows;
}

/**
 * As rows of the journal; none where the source does not say what a snapshot is. Index: the primary keys; the bounds on
 * order_id prune the partitions.
 */
export async function readSnapshots(
  client: pg.ClientBase,
  orders: readonly OrderKey[],
): Promise<readonly (readonly (string | null)[])[]> {
  const { rows: said } = await client.query<{ said: boolean }>(`select ${SAYS_WHAT} as said`);
  if (said[0]?.said !== true) return [];
  const ids = orders.map((order) => order.order_id).sort();
  const { rows } = await client.query<(string | null)[]>({
    text: `select ${journalColumns.map((name) => `s.${name}`).join(', ')}
      from unnest($1::uuid[], $2::uuid[]) as g(merchant_id, order_id)
      join order_snapshot s on s.merchant_id = g.merchant_id and s.order_id = g.order_id
      where s.order_id >= $3::uuid and s.order_id <= $4::uuid
      order by s.order_id`,
    values: [orders.map((order) => order.merchant_id), orders.map((order) => order.order_id), ids[0], ids.at(-1)],
    rowMode: 'array',
    types: { getTypeParser: () => (value: string) => value },
  });
  return rows;
}
