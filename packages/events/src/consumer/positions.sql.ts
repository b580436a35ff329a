// Every statement on consumer_position, but for what lost histories do to it (replaced.sql.ts). One multi-row statement each,
// whatever the batch's size.
import type { Gap, OrderEvent } from '@ballast/contracts';
import type { Knex } from 'knex';
import { Overtaken } from './failures.ts';
import { isBehind, type Move, NOTHING_YET, orderKey, type Place, type Position } from './next-in-order.ts';
import { markReplaced } from './replaced.sql.ts';

/** No lock: `claimMoves` finds out whether somebody else went first. Index: the primary key. */
export async function readPositions(
  trx: Knex.Transaction,
  events: readonly OrderEvent[],
): Promise<Map<string, Position>> {
  const orders = [...new Set(events.map((event) => event.order_id))];
  const { rows } = await trx.raw<{
    rows: {
      order_id: string;
      source: string;
      generation: number;
      version: number;
      waits_for: 'gap' | 'parked' | null;
    }[];
  }>('select order_id, source, generation, version, waits_for from consumer_position where order_id = any(?::uuid[])', [
    orders,
  ]);
  return new Map(
    rows.map((row) => [orderKey(row), { generation: row.generation, version: row.version, waitsFor: row.waits_for }]),
  );
}

/**
 * Moves each order from the position that was read to the new one, before its effects: two deliveries of one event
 * cannot both get here. Locks those rows; rejects with Overtaken when a row is no longer as it was read: it moved, or
 * another route holds an event of it meanwhile, which only a new read brings along. An order waits on until it has
 * reached the furthest event known of it, and begins to wait where what was applied may be of a lost history.
 */
export async function claimMoves(
  trx: Knex.Transaction,
  moves: readonly Move[],
  known: ReadonlyMap<string, Position>,
): Promise<void> {
  const { rows } = await trx.raw<{ rows: { claimed: bigint; replaced_by: number | null }[] }>(
    `with input as materialized (
       select * from unnest(?::uuid[], ?::text[], ?::uuid[], ?::int[], ?::int[], ?::int[], ?::int[], ?::text[],
           ?::boolean[], ?::timestamptz[])
         as t(order_id, source, merchant_id, generation, version, was_generation, was_version, was_waits_for, known,
           occurred_at)
     ), moved as (
       update consumer_position p set generation = i.generation, version = i.version,
         occurred_at = i.occurred_at,
         waits_for = case when (i.generation, i.version) < (p.seen_generation, p.seen_version) then p.waits_for end
       from input i
       where i.known and p.order_id = i.order_id and p.source = i.source
         and p.generation = i.was_generation and p.version = i.was_version
         and coalesce(p.waits_for, '') = i.was_waits_for
       returning 1
     ), made as (
       insert into consumer_position (order_id, source, merchant_id, generation, version, occurred_at)
       select order_id, source, merchant_id, generation, version, occurred_at from input where not known
       on conflict do nothing
       returning 1
     )
     select (select count(*) from moved) + (select count(*) from made) as claimed,
       (select max(generation) from consumer_replaced) as replaced_by`,
    [
      moves.map((move) => move.sample.order_id),
      moves.map((move) => move.sample.source),
      moves.map((move) => move.sample.merchant_id),
      moves.map((move) => move.generation),
      moves.map((move) => move.version),
      moves.map((move) => move.before.generation),
      moves.map((move) => move.before.version),
      moves.map((move) => move.before.waitsFor ?? ''),
      moves.map((move) => known.has(move.key)),
      moves.map((move) => move.sample.occurred_at),
    ],
  );
  const missing = moves.length - Number(rows[0]?.claimed ?? 0);
  if (missing !== 0) throw new Overtaken(missing);
  const late = moves.filter((move) => move.generation < (rows[0]?.replaced_by ?? 0));
  if (late.length > 0)
    await markReplaced(
      trx,
      late.map((move) => move.sample.order_id),
    );
}

/**
 * Marks orders as waiting, also those of which nothing was applied yet, and remembers the furthest event of each that is
 * known: it may be neither held (the bound was reached) nor sent again unasked. An order that is parked stays parked.
 * Rejects with Overtaken when an order is no longer where `at` has it: the event may not be early any more.
 */
export async function markWaiting(
  trx: Knex.Transaction,
  events: readonly OrderEvent[],
  waitsFor: 'gap' | 'parked',
  at: ReadonlyMap<string, Place>,
): Promise<void> {
  const furthest = new Map<string, OrderEvent>();
  for (const event of events) {
    const known = furthest.get(orderKey(event));
    if (known === undefined || isBehind(known, event)) furthest.set(orderKey(event), event);
  }
  const orders = [...furthest.values()];
  const places = [...furthest.keys()].map((key) => at.get(key) ?? NOTHING_YET);
  const { rows } = await trx.raw<{ rows: object[] }>(
    `insert into consumer_position as p
       (order_id, source, merchant_id, generation, version, waits_for, seen_generation, seen_version)
     select order_id, source, merchant_id, generation, version, ?, seen_generation, seen_version
     from unnest(?::uuid[], ?::text[], ?::uuid[], ?::int[], ?::int[], ?::int[], ?::int[])
       as t(order_id, source, merchant_id, generation, version, seen_generation, seen_version)
     on conflict (order_id, source) do update set
       waits_for = case when p.waits_for = 'parked' then p.waits_for else excluded.waits_for end,
       seen_generation = greatest(p.seen_generation, excluded.seen_generation),
       seen_version = case
         when excluded.seen_generation > p.seen_generation then excluded.seen_version
         when excluded.seen_generation = p.seen_generation then greatest(p.seen_version, excluded.seen_version)
         else p.seen_version end
     where p.generation = excluded.generation and p.version = excluded.version
     returning 1`,
    [
      waitsFor,
      orders.map((event) => event.order_id),
      orders.map((event) => event.source),
      orders.map((event) => event.merchant_id),
      places.map((place) => place.generation),
      places.map((place) => place.version),
      orders.map((event) => event.generation),
      orders.map((event) => event.version),
    ],
  );
  if (rows.length !== orders.length) throw new Overtaken(orders.length - rows.length);
}

/**
 * Orders that wait for a missing event, and which versions are missing: those before the first one held, or up to the
 * furthest one known where none is. At least one is: being sent it again is what makes an order go on whose next event is
 * held already. Once a newer generation is known the whole order is asked for, that event included: only what comes in one
 * delivery with the event before it says where a generation begins. Where nothing of that generation is known, one version
 * more than was applied is asked for: the order as it is now stands in for what does not exist. The oldest orders first, from `afterOrderId` on.
 * Index: consumer_position_waiting, in its own order and only as far as needed: statistics know nothing of the millions that may
 * wait after a restore, and would have all of them read and sorted each time.
 */
export async function readOpenGaps(trx: Knex.Transaction, limit: number, afterOrderId: string): Promise<Gap[]> {
  await trx.raw(`select set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true),
    set_config('enable_sort', 'off', true)`);
  const { rows } = await trx.raw<{ rows: Gap[] }>(
    `select p.merchant_id, p.order_id,
       case when replaced then 0 else p.version end as after_version,
       case when replaced then case when p.seen_version = 0 then p.version + 2 else p.seen_version + 1 end
         else greatest(p.version + 2, coalesce(h.first, p.seen_version + 1)) end as before_version
     from consumer_position p
     cross join lateral (select p.version > 0 and p.seen_generation > p.generation as replaced) g
     left join lateral (
       select min(version) as first from consumer_held
       where order_id = p.order_id and source = p.source and version > p.version
     ) h on true
     where p.waits_for = 'gap' and p.order_id > ?::uuid
     order by p.order_id
     limit ?`,
    [afterOrderId, limit],
  );
  return rows;
}

/** Forgets everything, for a rebuild from zero, in the transaction that empties the read model. */
export async function forgetEverything(trx: Knex.Transaction): Promise<void> {
  // In the order in which a watermark takes them.
  await trx.raw(
    `truncate consumer_watermark, consumer_stream, consumer_position, consumer_held, consumer_parked, consumer_replaced`,
  );
}

/**
 * Everything about the first `most` orders from `from` on and before `before`, by the time in the id: also of those that wait.
 * Their journal is gone with them, so nothing will ever fill their gap. What is held and parked is bounded, and goes with the
 * first of them. Index: the primary keys.
 */
export async function forgetNext(
  trx: Knex.Transaction,
  { from, before }: { readonly from: string; readonly before: string },
  most: number,
): Promise<Forgotten> {
  const { rows } = await trx.raw<{ rows: { order_id: string }[] }>(
    'select order_id from consumer_position where order_id >= ? and order_id < ? order by order_id offset ? limit 1',
    [from, before, most],
  );
  const next = rows[0]?.order_id ?? null;
  const gone = await trx.raw<{ rows: { count: number }[] }>(
    `with held as (delete from consumer_held where order_id < :before::uuid),
     parked as (delete from consumer_parked where order_id < :before::uuid),
     gone as (delete from consumer_position where order_id >= :from::uuid and order_id < :to::uuid returning 1)
     select count(*)::int as count from gone`,
    { from, before, to: next ?? before },
  );
  return { count: gone.rows[0]?.count ?? 0, next };
}

export interface Forgotten {
  readonly count: number;
  /** The first one that is left to be forgotten; null: none is. */
  readonly next: string | null;
}
