// A page of a merchant's orders, newest first.

import { type MerchantOrderList, publicId } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import { lowestIdAt, timeOf, WEEK_MS } from '../read-model/partitions.ts';
import { merchantOrder } from './merchant-order.ts';
import { type OrderFilters, queryOf } from './order-filters.ts';
import { endOfStretch, type OrderQuery, type OrderRow, type Scope, selectOrders } from './read-orders.sql.ts';

/**
 * Orders looked at for one page, at most: some 20 ms of one core. A filter without an index of its own (status, channel,
 * terminal, amount) that finds few ends its page early there, and the page says that there may be more.
 */
const STRETCH = 10_000;

/** Most pages are recent: with few partitions to plan for, one is there in 1 ms; over a year's partitions it takes 8. */
const RECENT_MS = 5 * WEEK_MS;

export async function listOrders(
  knex: Knex,
  scope: Scope,
  filters: OrderFilters,
  stretch = STRETCH,
): Promise<MerchantOrderList> {
  const query = queryOf(filters);
  const limit = Number(filters.limit);
  const recent = recentOf(query);
  if (recent !== undefined) {
    const rows = await selectOrders(knex, scope, recent, stretch, limit + 1);
    if (rows.length > limit) return fullPage(rows, limit);
  }
  const rows = await selectOrders(knex, scope, query, stretch, limit + 1);
  if (rows.length > limit) return fullPage(rows, limit);
  const end = await endOfStretch(knex, scope, query, stretch);
  const data = rows.map(merchantOrder);
  if (end === undefined) return { data, has_more: false, next_cursor: null };
  return { data, has_more: true, next_cursor: publicId('ord', end) };
}

/** The same, no further back than a few weeks; undefined where it goes no further anyway. */
function recentOf(query: OrderQuery): OrderQuery | undefined {
  const end = query.before === undefined ? Date.now() : timeOf(query.before);
  const from = lowestIdAt(end - RECENT_MS);
  return query.from === undefined || query.from < from ? { ...query, from } : undefined;
}

function fullPage(rows: readonly OrderRow[], limit: number): MerchantOrderList {
  const data = rows.slice(0, limit).map(merchantOrder);
  return { data, has_more: true, next_cursor: data.at(-1)?.id ?? null };
}
