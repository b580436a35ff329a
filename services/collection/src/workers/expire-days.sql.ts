// Every statement of expire-days.ts, on one plain connection: DETACH CONCURRENTLY runs outside of transactions. What is
// written into a statement's text are names made from a day that was matched against eight digits.
import type pg from 'pg';
import { boundsOf, type DayTable, dayTables, partitionOf } from './days.ts';

/** False: another instance is at it. Held until the connection ends. */
export async function takeTurn(client: pg.ClientBase, lock: number): Promise<boolean> {
  const { rows } = await client.query<{ taken: boolean }>('select pg_try_advisory_lock($1) as taken', [lock]);
  return rows[0]?.taken ?? false;
}

export interface DayPartition {
  readonly day: string;
  readonly table: DayTable;
  /** A DETACH CONCURRENTLY was interrupted. */
  readonly pending: boolean;
}

/** The attached ones of all three tables, the oldest day first. */
export async function readPartitions(client: pg.ClientBase): Promise<DayPartition[]> {
  const { rows } = await client.query<{ name: string; table: DayTable; pending: boolean }>(
    `select c.relname as name, i.inhparent::regclass::text as table, i.inhdetachpending as pending
     from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = any($1::regclass[]) order by c.relname`,
    [[...dayTables]],
  );
  return rows
    .map(({ name, table, pending }) => ({ day: name.slice(table.length + 1), table, pending }))
    .filter(({ day }) => /^\d{8}$/.test(day));
}

/** Days whose drop was decided and has not been done. */
export async function readDecided(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ day: string }>(
    `select to_char(day, 'YYYYMMDD') as day from expired_day where dropped_at is null order by day`,
  );
  return rows.map(({ day }) => day);
}

export async function exists(client: pg.ClientBase, table: DayTable, day: string): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>('select to_regclass($1) is not null as there', [
    partitionOf(table, day),
  ]);
  return rows[0]?.there ?? false;
}

export interface ReaderRow {
  /** `reader ballast_forwarding/query`, or `slot …`. */
  readonly who: string;
  readonly why: string;
  /** Whatever is visible in this snapshot is past. */
  readonly has: string;
}

/**
 * Those that are not retired: what another cluster's snapshot saw, brought along by a dump, counts as nothing. And every
 * logical slot of this database that can still be read: its catalog_xmin moves only to a transaction below which all were
 * finished at a position of the log that its reader has confirmed. But a forwarder's slot moves on while some of its readers
 * lack what it has passed, so a slot that no reader is known of counts as nothing (docs/runbooks/days.md: a tool's slot).
 */
export async function readReaders(client: pg.ClientBase): Promise<ReaderRow[]> {
  const { rows } = await client.query<ReaderRow>(
    `select 'reader ' || reader as who, 'has everything until ' || rfc3339(covered_at) as why,
       case system when this_system() then has::text else '1:1:' end as has
     from journal_reader where retired_at is null
     union all
     select 'slot ' || slot_name,
       case when known then 'has confirmed the log up to ' || coalesce(confirmed_flush_lsn::text, 'nothing')
         else 'none of its readers has ever said how far it is' end,
       case when known then format('%1$s:%1$s:', greatest(coalesce(whole_xid(catalog_xmin), 1), 1)) else '1:1:' end
     from pg_replication_slots
     cross join lateral (select exists (select from journal_reader where starts_with(reader, slot_name || '/')) as known) k
     where slot_type = 'logical' and database = current_database() and wal_status is distinct from 'lost'
     order by who`,
  );
  return rows;
}

/**
 * Whether a reader has any row of it still to come. A journal restored from a dump names transactions that this cluster has
 * yet to give out: such a row counts by the one that put it here. Index: order_event_xid (BRIN), which rules out every block
 * of an old day.
 */
export async function isUnread(client: pg.ClientBase, day: string, has: string): Promise<boolean> {
  const writtenBy =
    'case when xid < pg_snapshot_xmax(pg_current_snapshot())::text::bigint then xid else whole_xid(xmin) end';
  const { rows } = await client.query<{ unread: boolean }>(
    `select exists (select from ${partitionOf('order_event', day)}
       where xid >= pg_snapshot_xmin($1::pg_snapshot)::text::bigint
         and not pg_visible_in_snapshot((${writtenBy})::text::xid8, $1::pg_snapshot)) as unread`,
    [has],
  );
  return rows[0]?.unread ?? false;
}

/** The same where the day's journal is gone: its orders stand for it (view order_snapshot). A scan. */
export async function isOrderUnread(client: pg.ClientBase, day: string, has: string): Promise<boolean> {
  const { rows } = await client.query<{ unread: boolean }>(
    `select exists (select from ${partitionOf('orders', day)}
       where not pg_visible_in_snapshot(greatest(whole_xid(xmin), 1)::text::xid8, $1::pg_snapshot)) as unread`,
    [has],
  );
  return rows[0]?.unread ?? false;
}

/** Orders of the day that the resolver has work with, or a person. Indexes orders_work, person_case_open. */
export async function countAtWork(client: pg.ClientBase, day: string): Promise<number> {
  const orders = partitionOf('orders', day);
  const { rows } = await client.query<{ orders: string }>(
    `select (select count(*) from ${orders} where work is not null)
       + (select count(*) from person_case c join ${orders} o on o.merchant_id = c.merchant_id and o.order_id = c.order_id
          where c.closed_at is null) as orders`,
  );
  return Number(rows[0]?.orders);
}

export async function readBlocks(client: pg.ClientBase, table: DayTable, day: string): Promise<number> {
  const { rows } = await client.query<{ blocks: string }>(
    `select pg_relation_size($1::regclass) / current_setting('block_size')::int as blocks`,
    [partitionOf(table, day)],
  );
  return Number(rows[0]?.blocks);
}

export interface OrdersSeen {
  readonly orders: number;
  readonly open: number;
  /** Not open, and a refund is still possible. */
  readonly refundable: number;
}

/** Orders in these blocks. A scan of that range of tids. */
export async function lookAtOrders(
  client: pg.ClientBase,
  day: string,
  from: number,
  to: number,
  /** Void windows that ended later than this leave a refund possible; ms. */
  refundableSince: number,
): Promise<OrdersSeen> {
  const { rows } = await client.query<{ orders: string; open: string; refundable: string }>(
    `select count(*) as orders, count(*) filter (where open) as open,
       count(*) filter (where not open and voidable_until > to_timestamp($1 / 1000.0)) as refundable
     from (
       select status in ('processing', 'in_doubt', 'reversing') or work is not null as open, voidable_until
       from ${partitionOf('orders', day)} where ctid >= $2::tid and ctid < $3::tid
     ) o`,
    [refundableSince, `(${from},0)`, `(${to},0)`],
  );
  const seen = rows[0];
  return { orders: Number(seen?.orders), open: Number(seen?.open), refundable: Number(seen?.refundable) };
}

/** Attempts in these blocks that are not at their end. A scan of that range of tids. */
export async function countOpenAttempts(client: pg.ClientBase, day: string, from: number, to: number): Promise<number> {
  const { rows } = await client.query<{ open: string }>(
    `select count(*) as open from ${partitionOf('attempt', day)}
     where ctid >= $1::tid and ctid < $2::tid and state in ('sent', 'in_doubt', 'reversing', 'needs_person')`,
    [`(${from},0)`, `(${to},0)`],
  );
  return Number(rows[0]?.open);
}

export async function decide(client: pg.ClientBase, day: string): Promise<void> {
  await client.query('insert into expired_day (day) values ($1::date) on conflict do nothing', [day]);
}

export async function takeBackDecision(client: pg.ClientBase, day: string): Promise<void> {
  await client.query('delete from expired_day where day = $1::date and dropped_at is null', [day]);
}

/**
 * SHARE UPDATE EXCLUSIVE on the parent, which payments do not notice: marks the partition, waits for every transaction that
 * may still use it, and only then locks it. A lock_timeout on the way leaves it marked (`pending`).
 */
export async function detach(client: pg.ClientBase, { table, day, pending }: DayPartition): Promise<void> {
  const how = pending ? 'finalize' : 'concurrently';
  await client.query(`alter table ${table} detach partition ${partitionOf(table, day)} ${how}`);
}

/** Without a scan: DETACH CONCURRENTLY left a CHECK of the same bounds behind. */
export async function attach(client: pg.ClientBase, table: DayTable, day: string): Promise<void> {
  await client.query(`alter table ${table} attach partition ${partitionOf(table, day)} for values ${boundsOf(day)}`);
}

/** All three tables, and the key that opens the day's card numbers, in one transaction. Nobody else knows the tables by now. */
export async function drop(client: pg.ClientBase, day: string, orders: number): Promise<void> {
  await client.query('begin');
  try {
    await client.query(`drop table if exists ${dayTables.map((table) => partitionOf(table, day)).join(', ')}`);
    await client.query('delete from card_data_key where day = $1::date', [day]);
    await client.query('update expired_day set dropped_at = clock_timestamp(), orders = $2 where day = $1::date', [
      day,
      orders,
    ]);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}
