// One order's whole story. Another merchant's order, and one of the other mode, is "no such order": that it exists is
// nobody's business.

import { type MerchantOrderStory, Problem, publicId } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import { merchantOrderStory } from './merchant-order.ts';
import { type Scope, selectStory } from './read-orders.sql.ts';

/** Throws Problem `not_found`. */
export async function tellStory(knex: Knex, scope: Scope, orderId: string): Promise<MerchantOrderStory> {
  const row = await selectStory(knex, scope, orderId);
  if (row === undefined) throw new Problem('not_found', `There is no order ${publicId('ord', orderId)}.`);
  return merchantOrderStory(row);
}
