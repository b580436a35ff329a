// A void names the terminal's own number. What it does depends on where the order stands:
// not there yet → the number is held, and the payment that arrives later is cancelled; processing → the wish is set and
// commit 2 obeys it; in doubt or approved within its window → reversing; ended without money → success without effect.
import { type HeldVoid, Problem, publicId } from '@ballast/contracts';
import { answerJson } from './answer.ts';
import type { PaymentsCore, Told, VoidPaymentCommand } from './core.ts';
import { beforeDeadline, expired } from './deadline.ts';
import { keyHash, traceHash } from './identity.ts';
import { findKeyByTrace, holdNumberForVoid, holdNumberOn } from './keys.sql.ts';
import { findOrder, type OrderRow, voidOrder } from './orders.sql.ts';
import { factsOfRow, presentOf } from './replay.ts';
import { tooOld } from './transaction-time.ts';

/** The state can move between our look and our statement, but only forward: this often at most. */
const TRIES = 5;
/** Whatever hangs, the terminal is told so this long before its deadline. A void sent again has no further effect. */
const LAST_WORD_MS = 50;

export async function voidPayment(core: PaymentsCore, command: VoidPaymentCommand): Promise<Told> {
  const told = await beforeDeadline(
    findAndVoid(core, command),
    command.receivedAt + command.deadlineMs - LAST_WORD_MS,
    (error) => core.logger.error({ err: error }, 'a void failed after its terminal was answered'),
  );
  if (told !== expired) return told;
  throw new Problem('database_unavailable', 'The void may or may not have taken effect. Send the same void again.', {
    retryAfterSeconds: 1,
  });
}

async function findAndVoid(core: PaymentsCore, command: VoidPaymentCommand): Promise<Told> {
  const { terminal, request } = command;
  const trace = traceHash(terminal, request.batch_number, request.trace_number);
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    const key = await findKeyByTrace(core.knex, terminal.merchantId, trace);
    if (key?.order_id === null) {
      if (await holdNumberOn(core.knex, terminal.merchantId, trace)) return heldForVoid(command);
      continue; // its payment arrived meanwhile
    }
    if (key === undefined) {
      // Its payment may have been made and its key forgotten since: what is held then would promise too much.
      const old = tooOld(request.transaction_time, core.clock.now());
      if (old !== null) throw old;
      const own = keyHash(core.keySecret, terminal, command.idempotencyKey);
      const held = await holdNumberForVoid(core.knex, terminal.merchantId, own, trace);
      // step: after the number was held
      if (held) return heldForVoid(command);
      if ((await findKeyByTrace(core.knex, terminal.merchantId, trace)) === undefined) {
        throw new Problem('idempotency_key_reused', 'The Idempotency-Key belongs to another request.', {
          errors: [{ pointer: 'Idempotency-Key', detail: 'belongs to another request' }],
        });
      }
      continue; // its payment arrived meanwhile
    }
    const order = await findOrder(core.knex, terminal.merchantId, key.order_id);
    if (order === undefined) throw new Error(`BUG: key without its order ${key.order_id}`);
    const told = await voidFound(core, command, order);
    if (told !== null) return told;
  }
  throw new Problem('still_processing', 'The order is moving; send the same void again.', { retryAfterSeconds: 1 });
}

/** Null: the order moved between our look and our statement; look again. */
async function voidFound(core: PaymentsCore, command: VoidPaymentCommand, order: OrderRow): Promise<Told | null> {
  // step: before the void
  const moved = await voidOrder(core.knex, {
    merchantId: order.merchant_id,
    orderId: order.order_id,
    attemptNo: order.attempt_no,
    answer: answerJson(factsOfRow(order), 'not_completed'),
    traceparent: command.traceparent,
  });
  // step: after the void
  const present = await findOrder(core.knex, order.merchant_id, order.order_id);
  if (present === undefined) throw new Error(`BUG: order ${order.order_id} vanished`);
  if (moved !== undefined) return { ...presentOf(present), status: 202, retryAfterSeconds: 1, final: false };
  switch (present.status) {
    case 'declined':
    case 'not_completed':
    case 'cancelled':
    case 'reversed':
      return { ...presentOf(present), status: 200 };
    case 'reversing':
      return { ...presentOf(present), status: 202, retryAfterSeconds: 1, final: false };
    case 'processing':
      return present.void_requested ? { ...presentOf(present), status: 202 } : null;
    case 'approved':
      if (order.status !== 'approved') return null;
      throw notVoidable(order.order_id, 'The window for voiding this order is closed; refund it instead.');
    case 'reversal_refused':
      throw notVoidable(order.order_id, 'The bank refused to reverse this order; refund it instead.');
    default:
      return null; // in doubt: it fell there between our statement and our look
  }
}

function notVoidable(orderId: string, detail: string): Problem {
  return new Problem('not_voidable', detail, { orderId: publicId('ord', orderId) });
}

function heldForVoid({ request }: VoidPaymentCommand): Told {
  const held: HeldVoid = {
    status: 'held',
    batch_number: request.batch_number,
    trace_number: request.trace_number,
    message:
      'No payment with this number is known from the last 7 days. If it still arrives, it is cancelled and not sent to the bank.',
  };
  const body = JSON.stringify(held);
  return { status: 200, body, replayed: false, orderId: null, retryAfterSeconds: null, final: true };
}
