// A request whose key or number is known already: the same request gets the stored answer, byte for byte; another
// request under the same key is refused, naming the field; a void that came first cancels it.
import { Problem, publicId } from '@ballast/contracts';
import { answerJson, type OrderFacts } from './answer.ts';
import type { PaymentsCore, TakePaymentCommand, Told } from './core.ts';
import { firstDifference } from './identity.ts';
import { findKeys, takeOverVoid } from './keys.sql.ts';
import { findOrder, type OrderRow } from './orders.sql.ts';
import type { NewPayment } from './payments.sql.ts';

/** How long a copy waits for the first one's answer before it is told what is known now. */
const REPLAY_WAIT_MS = 2_000;
const POLL_MS = 100;

export type Known =
  | { readonly kind: 'order'; readonly order: OrderRow }
  | { readonly kind: 'void_waiting' }
  | { readonly kind: 'conflict'; readonly problem: Problem };

type Identities = Pick<NewPayment, 'merchantId' | 'keyHash' | 'traceHash'>;

/** By both identities, in a new snapshot. Null: neither is known. */
export async function findKnown(core: PaymentsCore, ids: Identities): Promise<Known | null> {
  const keys = await findKeys(core.knex, ids.merchantId, ids.keyHash, ids.traceHash);
  const byKey = keys.find((key) => key.key_hash === ids.keyHash);
  const byTrace = keys.find((key) => key.trace_hash === ids.traceHash);
  if (byKey === undefined && byTrace === undefined) return null;
  if (byTrace?.order_id === null) return { kind: 'void_waiting' };
  if (byKey !== byTrace) return { kind: 'conflict', problem: conflict(byKey?.order_id, byTrace?.order_id) };
  const order = byKey?.order_id == null ? undefined : await findOrder(core.knex, ids.merchantId, byKey.order_id);
  if (order === undefined) throw new Error(`BUG: key without its order ${byKey?.order_id}`);
  return { kind: 'order', order };
}

function conflict(byKey: string | null | undefined, byTrace: string | null | undefined): Problem {
  if (byKey != null) {
    const detail =
      byTrace == null
        ? 'The Idempotency-Key belongs to a payment with another number.'
        : 'The Idempotency-Key and the trace number belong to two different payments.';
    return new Problem('idempotency_key_reused', detail, {
      orderId: publicId('ord', byKey),
      errors: [
        { pointer: 'Idempotency-Key', detail: 'belongs to another payment' },
        { pointer: '/trace_number', detail: 'differs from the first request' },
      ],
    });
  }
  return new Problem(
    'trace_number_reused',
    'The batch and trace number belong to a payment with another Idempotency-Key.',
    {
      ...(byTrace == null ? {} : { orderId: publicId('ord', byTrace) }),
      errors: [{ pointer: '/trace_number', detail: 'is used already in this batch' }],
    },
  );
}

export async function answerKnown(
  core: PaymentsCore,
  command: TakePaymentCommand,
  payment: NewPayment,
  known: Known,
): Promise<Told> {
  switch (known.kind) {
    case 'conflict':
      throw known.problem;
    case 'void_waiting':
      return cancel(core, command, payment);
    case 'order': {
      const difference = firstDifference(command.request, payment.fingerprint, known.order);
      if (difference !== null) {
        throw new Problem('idempotency_key_reused', 'The Idempotency-Key belongs to another request.', {
          orderId: publicId('ord', known.order.order_id),
          errors: [difference],
        });
      }
      return answerOf(await waitForAnswer(core, known.order, command.receivedAt + command.deadlineMs));
    }
  }
}

/** Waits, bounded, while the first request runs: on its promise when it runs here, else by looking again. */
async function waitForAnswer(core: PaymentsCore, order: OrderRow, deadline: number): Promise<OrderRow> {
  const until = Math.min(deadline, performance.now() + REPLAY_WAIT_MS);
  let present = order;
  while (present.answer === null && performance.now() < until) {
    const running = core.inFlight.get(order.order_id);
    const pause = pauseOf(running === undefined ? POLL_MS : until - performance.now());
    await Promise.race([pause.passed, ...(running === undefined ? [] : [running.catch(() => undefined)])]);
    pause.cancel();
    present = (await findOrder(core.knex, order.merchant_id, order.order_id)) ?? present;
  }
  return present;
}

function pauseOf(ms: number): { passed: Promise<void>; cancel(): void } {
  let timer: NodeJS.Timeout | undefined;
  const passed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(1, ms));
  });
  return { passed, cancel: () => clearTimeout(timer) };
}

function answerOf(order: OrderRow): Told {
  if (order.answer !== null) {
    return {
      status: 201,
      body: order.answer,
      replayed: true,
      orderId: order.order_id,
      retryAfterSeconds: null,
      final: true,
    };
  }
  if (order.status === 'processing') {
    throw new Problem('still_processing', 'The first request is still running. Send the same request again.', {
      orderId: publicId('ord', order.order_id),
      retryAfterSeconds: 1,
    });
  }
  return { ...presentOf(order), replayed: true };
}

/** The order as it is now; `final` only when its terminal's question is ended. */
export function presentOf(order: OrderRow): Told {
  const open = order.answer === null;
  const status = order.status as Parameters<typeof answerJson>[1];
  const body = answerJson(factsOfRow(order), status, {
    approvedAmount: status === 'approved' || status === 'reversal_refused' ? order.approved_amount : null,
    declineCode: order.decline_code,
    authorizationCode: order.authorization_code,
    rrn: order.rrn,
    ...(open ? { approveUntil: order.approve_until } : {}),
    answer: order.answer_status as never,
  });
  return {
    status: open ? 202 : 200,
    body,
    replayed: false,
    orderId: order.order_id,
    retryAfterSeconds: open ? 1 : null,
    final: !open,
  };
}

export function factsOfRow(order: OrderRow): OrderFacts {
  return {
    orderId: order.order_id,
    livemode: order.livemode,
    amount: order.amount,
    currency: order.currency,
    batchNumber: order.batch_number,
    traceNumber: order.trace_number,
    merchantReference: order.merchant_reference,
    businessDate: order.business_date,
    acceptedAt: order.accepted_at,
    cardBin: order.card_bin,
    cardLastFour: order.card_last_four,
  };
}

/** Its void was here first: stored `cancelled` with its answer, nothing sent. */
async function cancel(core: PaymentsCore, command: TakePaymentCommand, payment: NewPayment): Promise<Told> {
  const acceptedAt = new Date(core.clock.now()).toISOString();
  const answer = answerJson({ ...payment, acceptedAt }, 'cancelled');
  if (await takeOverVoid(core.knex, payment, acceptedAt, answer)) {
    return {
      status: 201,
      body: answer,
      replayed: false,
      orderId: payment.orderId,
      retryAfterSeconds: null,
      final: true,
    };
  }
  const known = await findKnown(core, payment); // another copy took it over meanwhile
  if (known?.kind !== 'order')
    throw new Problem('still_processing', 'A copy of this request is being stored.', { retryAfterSeconds: 1 });
  return answerKnown(core, command, payment, known);
}
