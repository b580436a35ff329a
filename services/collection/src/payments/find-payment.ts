// A terminal asks what became of its payment: by our id, or by its own number. Only its own are found.
import type { TerminalIdentity } from '../merchants/directory.ts';
import type { PaymentsCore, Told } from './core.ts';
import { traceHash } from './identity.ts';
import { findKeyByTrace } from './keys.sql.ts';
import { findOrder } from './orders.sql.ts';
import { presentOf } from './replay.ts';

export async function findPayment(
  core: PaymentsCore,
  terminal: TerminalIdentity,
  orderId: string,
): Promise<Told | null> {
  const order = await findOrder(core.knex, terminal.merchantId, orderId);
  if (order === undefined || order.terminal_id !== terminal.terminalId || order.livemode !== terminal.livemode)
    return null;
  return { ...presentOf(order), status: 200 };
}

export async function findPaymentByTrace(
  core: PaymentsCore,
  terminal: TerminalIdentity,
  batch: string,
  trace: string,
): Promise<Told | null> {
  const key = await findKeyByTrace(core.knex, terminal.merchantId, traceHash(terminal, batch, trace));
  return key?.order_id == null ? null : findPayment(core, terminal, key.order_id);
}
