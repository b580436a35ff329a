// A request whose key or number is known already: the same request gets the stored answer, byte for byte; another
// request under the same key is refused, naming the field; a void that came first cancels it.
import { type PaymentRequest, Problem, publicId } from '@ballast/contracts';
import { answerJson, type OrderFacts } from './answer.ts';
import type { PaymentsCore, SoFar, Told } from './core.ts';
import { firstDifference } from './identity.ts';
import { findKeys, type KnownKey, takeOverVoid } from './keys.sql.ts';
import type { Identities } from './new-payment.ts';
import { findOrder, type OrderRow } from './orders.sql.ts';
import type { NewPayment } from './payments.sql.ts';

/** How long a copy waits for the first one's answer before it is told what is known now. */
const REPLAY_WAIT_MS = 2_000;
const POLL_MS = 100;
/** Kept back from the terminal's deadline for one more look and the reply. */
const ANSWER_RESERVE_MS = 200;

export type Known =
  | { readonly kind: 'order'; readonly order: OrderRow }
  | { readonly kind: 'void_waiting' }
  | { readonly kind: 'conflict'; readonly problem: Problem };

type Keys = Omit<Identities, 'fingerprint'>;

/** By both identities, in a new snapshot. Null: neither is known. `deadline`: monotonic ms. */
export async function findKnown(core: PaymentsCore, ids: Keys, deadline: number): Promise<Known | null> {
  const found = await core.lookups.run(() => readKnown(core, ids), deadline);
  if (found.kind === 'done') return found.value;
  throw new Problem(
    'database_unavailable',
    'Too many requests are being looked up; an earlier one of this key may stand. Send the same request again.',
    { retryAfterSeconds: 1 },
  );
}

async function readKnown(core: PaymentsCore, ids: Keys): Promise<Known | null> {
  const keys = await findKeys(core.knex, ids.merchantId, ids.keyHash, ids.traceHash);
  const byKey = keys.find((key) => key.key_hash === ids.keyHash);
  const byTrace = keys.find((key) => key.trace_hash === ids.traceHash);
  if (byKey === undefined && byTrace === undefined) return null;
  if (byTrace?.order_id === null && (byKey === undefined || byKey === byTrace)) return { kind: 'void_waiting' };
  if (byKey !== byTrace) return { kind: 'conflict', problem: conflict(byKey, byTrace) };
  const order = byKey?.order_id == null ? undefined : await findOrder(core.knex, ids.merchantId, byKey.order_id);
  if (order === undefined) throw new Error(`BUG: key without its order ${byKey?.order_id}`);
  return { kind: 'order', order };
}

/** Two rows, or one of them and not the other: the one that is another's is named, a key before a number. */
function conflict(byKey: KnownKey | undefined, byTrace: KnownKey | undefined): Problem {
  if (byKey === undefined) {
    return new Problem(
      'trace_number_reused',
      'The batch and trace number belong to a payment with another Idempotency-Key.',
      {
        ...(byTrace?.order_id == null ? {} : { orderId: publicId('ord', byTrace.order_id) }),
        errors: [{ pointer: '/trace_number', detail: 'is used already in this batch' }],
      },
    );
  }
  if (byKey.order_id === null) {
    return new Problem('idempotency_key_reused', 'The Idempotency-Key belongs to a void of another number.', {
      errors: [{ pointer: 'Idempotency-Key', detail: 'belongs to a void' }],
    });
  }
  const detail =
    byTrace === undefined
      ? 'The Idempotency-Key belongs to a payment with another number.'
      : 'The Idempotency-Key and the trace number belong to two different payments.';
  return new Problem('idempotency_key_reused', detail, {
    orderId: publicId('ord', byKey.order_id),
    errors: [
      { pointer: 'Idempotency-Key', detail: 'belongs to another payment' },
      { pointer: '/trace_number', detail: 'differs from the first request' },
    ],
  });
}

export async function answerKnown(
  core: PaymentsCore,
  request: PaymentRequest,
  { fingerprint }: Pick<Identities, 'fingerprint'>,
  known: Exclude<Known, { kind: 'void_waiting' }>,
  deadline: number,
  onStored: (soFar: SoFar) => void,
): Promise<Told> {
  if (known.kind === 'conflict') throw known.problem;
  const difference = firstDifference(request, fingerprint, known.order);
  if (difference !== null) {
    throw new Problem('idempotency_key_reused', 'The Idempotency-Key belongs to another request.', {
      orderId: publicId('ord', known.order.order_id),
      errors: [difference],
    });
  }
  onStored(() => answerOf(known.order));
  return answerOf(await waitForAnswer(core, known.order, deadline));
}

/**
 * Waits, bounded, while the first request runs: on its promise when it runs here, else by looking again. What is in doubt
 * is told at once: its answer is not near, and a storm of copies that look again and again would take the pool from those
 * who resolve it.
 */
async function waitForAnswer(core: PaymentsCore, order: OrderRow, deadline: number): Promise<OrderRow> {
  const until = Math.min(deadline - ANSWER_RESERVE_MS, performance.now() + REPLAY_WAIT_MS);
  let present = order;
  while (present.status === 'processing' && performance.now() < until) {
    const running = core.inFlight.get(order.order_id);
    const pause = pauseOf(running === undefined ? POLL_MS : until - performance.now());
    await Promise.race([pause.passed, ...(running === undefined ? [] : [running.catch(() => undefined)])]);
    pause.cancel();
    const looked = await core.lookups.run(() => findOrder(core.knex, order.merchant_id, order.order_id), until);
    if (looked.kind === 'done') present = looked.value ?? present;
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

/** Its void was here first: stored `cancelled` with its answer, nothing sent. Null: somebody was quicker; look again. */
export async function cancelNew(core: PaymentsCore, payment: NewPayment): Promise<Told | null> {
  const acceptedAt = new Date(core.clock.now()).toISOString();
  const answer = answerJson({ ...payment, acceptedAt }, 'cancelled');
  if (!(await takeOverVoid(core.knex, payment, acceptedAt, answer))) return null;
  return {
    status: 201,
    body: answer,
    replayed: false,
    orderId: payment.orderId,
    retryAfterSeconds: null,
    final: true,
  };
}
