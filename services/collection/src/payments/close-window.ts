// Refund asks to own an order before its window has run out: collection closes the window, says so in an event, and from
// then on no void. Of a void and a closing at the same moment the first under the row's lock wins, and the other is told.
import type { OrderStatus } from '@ballast/contracts';
import type { PaymentsCore } from './core.ts';
import { closeWindowOf, findOrder } from './orders.sql.ts';

export interface WindowReply {
  /** True: no void will have an effect any more. False: the order is not one that could be refunded (now). */
  readonly closed: boolean;
  readonly status: OrderStatus;
  /** The order's version; refund waits for the event that carries it, or a later one. */
  readonly version: number;
}

/** Null: there is no such order. Asking again has no further effect. */
export async function closeWindow(
  core: PaymentsCore,
  merchantId: string,
  orderId: string,
  traceparent: string | null,
): Promise<WindowReply | null> {
  await closeWindowOf(core.knex, merchantId, orderId, traceparent);
  const order = await findOrder(core.knex, merchantId, orderId);
  if (order === undefined) return null;
  return { closed: order.window_closed, status: order.status as OrderStatus, version: order.version };
}
