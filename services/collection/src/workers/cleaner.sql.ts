// What the cleaner removes. Over all merchants, a bounded number of rows at a time, so that no statement is long.
import type { Knex } from 'knex';

/**
 * Keys older than the retention whose order is not open. Finds them by the BRIN index on created_at; each order by its
 * primary key, in the one partition its id names.
 */
export async function deleteOldKeys(knex: Knex, keptMs: number, limit: number): Promise<number> {
  const { rowCount } = await knex.raw(
    `delete from payment_key where ctid = any(array(
       select k.ctid from payment_key k
       where k.created_at < now() - ? * interval '1 ms'
         and not exists (select from orders o where o.merchant_id = k.merchant_id and o.order_id = k.order_id
           and o.status in ('processing', 'in_doubt', 'reversing'))
       limit ?))`,
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
