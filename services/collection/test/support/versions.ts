// Promise 6, of a whole database: an order's events are 1 to n without a gap, and n is the version of its row.
import type { Knex } from 'knex';

/** One line per order whose events and row do not agree; also per order that has events and no row. */
export async function wrongVersions(knex: Knex): Promise<string[]> {
  const { rows } = await knex.raw(
    `select coalesce(o.order_id, e.order_id) as order_id, o.version, e.versions
     from orders o full join (
       select merchant_id, order_id, array_agg(version order by version) as versions
       from order_event group by merchant_id, order_id
     ) e using (merchant_id, order_id)
     where e.versions is distinct from (select array_agg(n order by n) from generate_series(1, o.version) n)`,
  );
  return rows.map(
    ({ order_id, version, versions }: { order_id: string; version: number | null; versions: number[] | null }) =>
      `${order_id} is at version ${version}, its events are ${versions}`,
  );
}
