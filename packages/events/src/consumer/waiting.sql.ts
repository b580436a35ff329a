// Every statement on consumer_held and consumer_parked: the slow path, taken only by orders with a gap or a poison event.
import type { OrderEvent } from '@ballast/contracts';
import type { Knex } from 'knex';

/** The held events of these orders, to go on behind what fills their gap, unchecked. Index: the primary key. */
export async function readHeld(
  trx: Knex.Transaction,
  orders: readonly { order_id: string; source: string }[],
): Promise<unknown[]> {
  const { rows } = await trx.raw<{ rows: { event: unknown }[] }>(
    `select h.event from consumer_held h
     join unnest(?::uuid[], ?::text[]) as t(order_id, source) using (order_id, source)
     order by h.order_id, h.source, h.version, h.generation`,
    [orders.map((order) => order.order_id), orders.map((order) => order.source)],
  );
  return rows.map((row) => row.event);
}

/** Keeps as many as there is room for below `bound`; the rest is asked for again as part of its gap. */
export async function hold(trx: Knex.Transaction, events: readonly OrderEvent[], bound: number): Promise<void> {
  const { rows } = await trx.raw<{ rows: { count: bigint }[] }>('select count(*) as count from consumer_held');
  const kept = events.slice(0, Math.max(0, bound - Number(rows[0]?.count ?? 0)));
  if (kept.length === 0) return;
  await trx.raw(
    `insert into consumer_held (order_id, source, version, generation, event)
     select order_id, source, version, generation, event::json
     from unnest(?::uuid[], ?::text[], ?::int[], ?::int[], ?::text[]) as t(order_id, source, version, generation, event)
     on conflict do nothing`,
    [
      kept.map((event) => event.order_id),
      kept.map((event) => event.source),
      kept.map((event) => event.version),
      kept.map((event) => event.generation),
      kept.map((event) => JSON.stringify(event)),
    ],
  );
}

/** Forgets what is held and parked of these orders up to the places reached: it would be a repeat. */
export async function release(
  trx: Knex.Transaction,
  reached: readonly { order_id: string; source: string; generation: number; version: number }[],
): Promise<void> {
  await trx.raw(
    `with reached as (
       select * from unnest(?::uuid[], ?::text[], ?::int[], ?::int[]) as t(order_id, source, generation, version)
     ), unparked as (
       delete from consumer_parked p using reached r
       where p.order_id = r.order_id and p.source = r.source
         and (p.generation, p.version) <= (r.generation, r.version)
     )
     delete from consumer_held h using reached r
     where h.order_id = r.order_id and h.source = r.source
       and (h.generation, h.version) <= (r.generation, r.version)`,
    [
      reached.map((order) => order.order_id),
      reached.map((order) => order.source),
      reached.map((order) => order.generation),
      reached.map((order) => order.version),
    ],
  );
}

/** Forgets held events that turned out to be repeats: replaced, before the order has got to what replaced them. */
export async function dropHeld(trx: Knex.Transaction, events: readonly OrderEvent[]): Promise<void> {
  if (events.length === 0) return;
  await trx.raw(
    `delete from consumer_held h
     using unnest(?::uuid[], ?::text[], ?::int[], ?::int[]) as t(order_id, source, version, generation)
     where h.order_id = t.order_id and h.source = t.source and h.version = t.version and h.generation = t.generation`,
    [
      events.map((event) => event.order_id),
      events.map((event) => event.source),
      events.map((event) => event.version),
      events.map((event) => event.generation),
    ],
  );
}

/** How many are parked after this one. */
export async function parkEvent(trx: Knex.Transaction, event: OrderEvent, reason: string): Promise<number> {
  await trx.raw(
    `insert into consumer_parked as p (order_id, source, merchant_id, version, generation, reason, event)
     values (?, ?, ?, ?, ?, ?, ?::json)
     on conflict (order_id, source, version, generation)
     do update set reason = excluded.reason, tries = p.tries + 1, parked_at = excluded.parked_at`,
    [event.order_id, event.source, event.merchant_id, event.version, event.generation, reason, JSON.stringify(event)],
  );
  return countParked(trx);
}

export async function countParked(knex: Knex): Promise<number> {
  const { rows } = await knex.raw<{ rows: { count: bigint }[] }>('select count(*) as count from consumer_parked');
  return Number(rows[0]?.count ?? 0);
}

export interface ParkedEvent {
  readonly order_id: string;
  readonly source: string;
  readonly merchant_id: string;
  readonly version: number;
  readonly generation: number;
  readonly reason: string;
  readonly tries: number;
  readonly parked_at: Date;
  readonly event: OrderEvent;
}

export async function readParked(knex: Knex, limit: number): Promise<ParkedEvent[]> {
  const { rows } = await knex.raw<{ rows: ParkedEvent[] }>(
    `select order_id, source, merchant_id, version, generation, reason, tries, parked_at, event
     from consumer_parked order by parked_at limit ?`,
    [limit],
  );
  return rows;
}

/** Opens a parked order for another try: it waits as for a gap, and keeps its parked rows until they are applied. */
export async function openParked(trx: Knex.Transaction, orderId: string): Promise<OrderEvent[]> {
  const { rows } = await trx.raw<{ rows: { event: OrderEvent }[] }>(
    `with opened as (
       update consumer_position set waits_for = 'gap' where order_id = ? and waits_for = 'parked' returning 1
     )
     select event from consumer_parked where order_id = ? order by version`,
    [orderId, orderId],
  );
  return rows.map((row) => row.event);
}
