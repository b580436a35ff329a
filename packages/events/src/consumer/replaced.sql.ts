// Every statement on consumer_replaced, and what it has to say to positions.
import type { Replaced } from '@ballast/contracts';
import type { Knex } from 'knex';

/**
 * Remembers what the watermark that is about to be taken says of lost histories. Locks the positions against deliveries under
 * way in other processes: one that ends before this is found by whoever marks, one that ends later finds the row made here.
 */
export async function rememberReplaced(
  trx: Knex.Transaction,
  source: string,
  replaced: readonly Replaced[],
): Promise<void> {
  await trx.raw('lock table consumer_position in share row exclusive mode');
  await trx.raw(
    `insert into consumer_replaced (source, generation, replaced_from)
     select ?, generation, replaced_from from unnest(?::int[], ?::timestamptz[]) as t(generation, replaced_from)
     on conflict (source, generation) do nothing`,
    [source, replaced.map(({ generation }) => generation), replaced.map(({ from }) => from)],
  );
}

/** Whether every order of this source is marked that is to be. */
export async function isMarked(trx: Knex.Transaction, source: string): Promise<boolean> {
  const { rows } = await trx.raw<{ rows: { marked: boolean }[] }>(
    'select not exists (select from consumer_replaced where source = ? and marked_up_to is not null) as marked',
    [source],
  );
  return rows[0]?.marked === true;
}

/** A lost history whose orders are not all marked yet. */
interface Unmarked {
  readonly source: string;
  readonly generation: number;
  readonly replaced_from: string;
  readonly marked_up_to: string;
}

/** Locks its row: instances that share this database take turns. Undefined: nothing is left, or others are at it. */
export async function lockUnmarked(trx: Knex.Transaction): Promise<Unmarked | undefined> {
  const { rows } = await trx.raw<{ rows: Unmarked[] }>(
    `select source, generation, replaced_from::text as replaced_from, marked_up_to from consumer_replaced
     where marked_up_to is not null order by source, generation limit 1 for update skip locked`,
  );
  return rows[0];
}

/**
 * Marks up to `most` orders, wherever they are; false: there were no more. Quick where few events were lost: it reads those again
 * that it marked before. Locks the rows that it marks. Index: consumer_position_age.
 */
export async function markSome(trx: Knex.Transaction, unmarked: Unmarked, most: number): Promise<boolean> {
  const { source, generation, replaced_from } = unmarked;
  const doubtful = `p.source = ? and p.generation < ? and p.occurred_at >= ?::timestamptz and ${isUnmarked('?')}`;
  const values = [source, generation, replaced_from, generation];
  const { rows } = await trx.raw<{ rows: { count: number }[] }>(
    `with found as materialized (
       select p.order_id from consumer_position p where ${doubtful} limit ?
     ), marked as (
       update consumer_position p set ${waitsForOrder('?')}
       where p.order_id in (select order_id from found) and ${doubtful}
     )
     select count(*)::int as count from found`,
    [...values, most, generation, generation, ...values],
  );
  return rows[0]?.count === most;
}

/**
 * Looks at the next `most` orders, marks those of them that are to be, and resolves to the last one; null: there are no more.
 * Bounded by what it reads, whatever it marks. Locks the rows that it marks. Index: the primary key.
 */
export async function markNext(trx: Knex.Transaction, unmarked: Unmarked, most: number): Promise<string | null> {
  const { source, generation, replaced_from, marked_up_to } = unmarked;
  const { rows } = await trx.raw<{ rows: { order_id: string }[] }>(
    'select order_id from consumer_position where order_id > ? order by order_id offset ? limit 1',
    [marked_up_to, most - 1],
  );
  const upTo = rows[0]?.order_id ?? null;
  await trx.raw(
    `update consumer_position p set ${waitsForOrder('?')}
     where p.order_id > ? and p.order_id <= ? and p.source = ? and p.generation < ? and p.occurred_at >= ?::timestamptz
       and ${isUnmarked('?')}`,
    [generation, generation, marked_up_to, upTo ?? AFTER_ALL_ORDERS, source, generation, replaced_from, generation],
  );
  return upTo;
}

const AFTER_ALL_ORDERS = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** Null: all of them. */
export async function storeMarkedUpTo(
  trx: Knex.Transaction,
  { source, generation }: Unmarked,
  upTo: string | null,
): Promise<void> {
  await trx.raw('update consumer_replaced set marked_up_to = ? where source = ? and generation = ?', [
    upTo,
    source,
    generation,
  ]);
}

/** Of these orders those whose last event a lost history may have issued. Index: the primary keys. */
export async function markReplaced(trx: Knex.Transaction, orders: string[]): Promise<void> {
  await trx.raw(
    `with doubtful as (
       select p.order_id, p.source, max(r.generation) as generation
       from consumer_position p
       join consumer_replaced r
         on r.source = p.source and r.generation > p.generation and r.replaced_from <= p.occurred_at
       where p.order_id = any(?::uuid[])
       group by p.order_id, p.source
     )
     update consumer_position p set ${waitsForOrder('d.generation')}
     from doubtful d where p.order_id = d.order_id and p.source = d.source`,
    [orders],
  );
}

/** It does not wait for this generation yet. */
function isUnmarked(generation: string): string {
  return `(p.waits_for is null or p.seen_generation < ${generation})`;
}

/**
 * What the newer generation has of the order is waited for: the journal's next event or, where there is none, the order as it
 * is now.
 */
function waitsForOrder(generation: string): string {
  return `waits_for = case when p.waits_for = 'parked' then p.waits_for else 'gap' end,
    seen_version = case when p.seen_generation < ${generation} then 0 else p.seen_version end,
    seen_generation = greatest(p.seen_generation, ${generation})`;
}
