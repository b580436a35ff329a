// Whether anything is still on its way. An order's status alone does not say it: an approval that surfaces on a declined order
// is reversed while the order stays declined, and only its `work` tells.
import type pg from 'pg';

/** Of a row of orders. */
export const isOpen = `(status in ('processing', 'in_doubt', 'reversing') or work is not null)`;

export async function openOrders(client: Pick<pg.Client, 'query'>): Promise<number> {
  const { rows } = await client.query<{ open: number }>(`select count(*)::int as open from orders where ${isOpen}`);
  return rows[0]?.open ?? 0;
}
