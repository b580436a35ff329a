// What the cleaner removes. Over all merchants, a bounded number of rows at a time, so that no statement is long.
import type { Knex } from 'knex';

/**
 * Keys older than the retention whose order is not open, oldest first. Index payment_key_created; each order by its primary
 * key, in the one partition its id names: a scalar subquery, which no plan turns into a join over all partitions.
 */
export async function deleteOldKeys(knex: Knex, keptMs: number, limit: number): Promise<number> {
  const { rowCount } = await knex.raw(
    `delete from payment_key where ctid = any(array(
       select k.ctid from payment_key k
       where k.created_at < now() - ? * interval '1 ms'
         and coalesce((select o.status not in ('processing', 'in_doubt', 'reversing') from orders o
           where o.merchant_id = k.merchant_id and o.order_id = k.order_id), true)
       order by k.created_at limit ?))`,
    [keptMs, limit],
  );
  return rowCount;
}

/** Index odd_answer_received. */
export async function deleteOldOddAnswers(
  knex: Knex,
  keptMs: number,
  keptRows: number,
  limit: number,
): Promise<number> {
  const { rowCount } = await knex.raw(
    `delete from odd_answer where ctid = any(array(
       select ctid from odd_answer
       where received_at < greatest(now() - ? * interval '1 ms',
         (select received_at from odd_answer order by received_at desc offset ? limit 1))
       order by received_at limit ?))`,
    [keptMs, keptRows, limit],
  );
  return rowCount;
}

/** Cases that a person closed long ago. Index person_case_closed. */
export async function deleteOldCases(knex: Knex, keptMs: number, limit: number): Promise<number> {
  const { rowCount } = await knex.raw(
    `delete from person_case where ctid = any(array(
       select ctid from person_case where closed_at < now() - ? * interval '1 ms' order by closed_at limit ?))`,
    [keptMs, limit],
  );
  return rowCount;
}
