// Rows for the journal, in bulk: copies of what a real payment left there, under ids of their own. Nothing but forwarding
// may be looked at afterwards: these events have no orders.
import { withClient } from './observe.ts';

/** Each makes as many events as the payment that is copied: two. */
const ORDERS_A_COMMIT = 250;

/** Resolves to the number of events inserted, at least `events`. */
export async function fillJournal(ordersUrl: string, events: number): Promise<number> {
  return withClient(ordersUrl, async (client) => {
    const { rows } = await client.query<{ merchant_id: string; order_id: string }>(
      `select merchant_id, order_id from order_event group by merchant_id, order_id having count(*) = 2 limit 1`,
    );
    const model = rows[0];
    if (model === undefined) throw new Error('no payment left two events');
    let inserted = 0;
    while (inserted < events) {
      const { rowCount } = await client.query({
        name: 'fill',
        text: `with new as materialized (select uuidv7() as order_id from generate_series(1, $3::int))
         insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
         select merchant_id, new.order_id, version, type, livemode, generation, traceparent,
           data || jsonb_build_object('order_id', new.order_id)
         from new cross join (select * from order_event where merchant_id = $1 and order_id = $2) model
         order by new.order_id, version`,
        values: [model.merchant_id, model.order_id, ORDERS_A_COMMIT],
      });
      inserted += rowCount ?? 0;
    }
    await client.query('checkpoint'); // the measured time does not pay for these pages
    return inserted;
  });
}
