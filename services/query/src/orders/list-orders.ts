// A page of a merchant's orders, newest first.

import { type MerchantOrderList, publicId } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import { merchantOrder } from './merchant-order.ts';
import { type OrderFilters, queryOf } from './order-filters.ts';
import { endOfStretch, type Scope, selectOrders } from './read-orders.sql.ts';

/**
 * Orders looked at for one page, at most: some 20 ms of one core. A filter without an index of its own (status, channel,
 * terminal, amount) that finds few ends its page early there, and the page says that there may be more.
 */
const STRETCH = 10_000;

export async function listOrders(
  knex: Knex,
  scope: Scope,
  filters: OrderFilters,
  stretch = STRETCH,
): Promise<MerchantOrderList> {
  const query = queryOf(filters);
  const limit = Number(filters.limit);
  const rows = await selectOrders(knex, scope, query, stretch, limit + 1);
  const data = rows.slice(0, limit).map(merchantOrder);
  if (rows.length > limit) {
    const last = data.at(-1);
    if (last === undefined) throw new Error('BUG: a page without a last order has more');
    return { data, has_more: true, next_cursor: last.id };
  }
  const end = await endOfStretch(knex, scope, query, stretch);
  if (end === undefined) return { data, has_more: false, next_cursor: null };
  return { data, has_more: true, next_cursor: publicId('ord', end) };
}
