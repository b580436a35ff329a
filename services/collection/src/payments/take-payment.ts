// One payment, from its parsed request to what the terminal is told:
//
//   commit 1 (key, order, attempt `sent`, event)  →  the bank, no transaction open  →  commit 2 (outcome, answer, event)
//
// Nothing here guesses: without a clear word of the bank the order is in doubt and the resolver goes on from there.
import type { Charge, ChargeOutcome } from '@ballast/channels';
import { Problem } from '@ballast/contracts';
import { type Committed, CommitUnknown, NotSent, QueueFull, uuidv7 } from '@ballast/database';
import type { Route } from '../merchants/directory.ts';
import { answerJson, type OrderFacts } from './answer.ts';
import { bankReference } from './bank-reference.ts';
import { businessDateCached } from './business-date.ts';
import { chooseRoute } from './channel-choice.ts';
import type { PaymentsCore, TakePaymentCommand, Told } from './core.ts';
import { discountsText, keyHash, traceHash } from './identity.ts';
import type { Accepted, Learnt, Moved, NewPayment } from './payments.sql.ts';
import { LEASE_MARGIN_MS } from './payments.sql.ts';
import { answerKnown, findKnown } from './replay.ts';

/** Kept back from the terminal's deadline for commit 2 and the reply: its p99 at saturation is 26 ms, its slow lane's 200. */
const ANSWER_RESERVE_MS = 300;
/** A key row can vanish between two statements (cleaned) once, not for ever. */
const INSERT_TRIES = 3;
/** Keys are kept 7 days; a day less, so that no accepted request can outlive its key. */
const OLDEST_TRANSACTION_MS = 6 * 86_400_000;
const NEWEST_TRANSACTION_MS = 86_400_000;

export async function takePayment(core: PaymentsCore, command: TakePaymentCommand): Promise<Told> {
  const deadline = command.receivedAt + command.deadlineMs;
  const nowMs = core.clock.now();
  refuseWhatCannotBe(command, nowMs);
  const route = chooseRoute(command.routes, command.request, Math.random());
  const channel = route === undefined ? undefined : core.channels.get(route.channel);
  if (route === undefined || channel === undefined) {
    throw new Problem('no_channel', 'No channel of this merchant takes this payment.', {
      errors: [{ pointer: '/payment_method', detail: 'no route fits method, card and currency' }],
    });
  }
  const payment = newPayment(core, command, route, nowMs, deadline);

  const refusal = channel.wouldRefuse('pay', payment.merchantId);
  if (refusal !== null) {
    // Stores nothing and uses up no key; but a copy of a known request still gets its answer.
    const known = await findKnown(core, payment);
    if (known !== null && known.kind !== 'void_waiting') return answerKnown(core, command, payment, known);
    throw new Problem('channel_refused', `${refusal.reason}: ${refusal.detail}`, {
      retryAfterSeconds: refusal.retryAfterSeconds ?? 1,
    });
  }

  const accepted = await accept(core, command, payment, deadline);
  if ('told' in accepted) return accepted.told;

  const running = callAndLearn(core, command, payment, accepted.facts, accepted.approveUntil, deadline);
  core.inFlight.set(payment.orderId, running);
  try {
    return await running;
  } finally {
    core.inFlight.delete(payment.orderId);
  }
}

/** Commit 1. Either the order is ours to go on with, or the terminal is told about the one that was there first. */
async function accept(
  core: PaymentsCore,
  command: TakePaymentCommand,
  payment: NewPayment,
  deadline: number,
): Promise<{ facts: OrderFacts; approveUntil: string } | { told: Told }> {
  for (let attempt = 1; attempt <= INSERT_TRIES; attempt++) {
    const committed = await submitNew(core, payment, deadline);
    if (committed.kind === 'applied') {
      const { accepted_at, approve_until } = committed.row;
      return { facts: factsOf(payment, accepted_at), approveUntil: approve_until };
    }
    const known = await findKnown(core, payment);
    if (known === null) continue;
    if (known.kind === 'order' && known.order.order_id === payment.orderId) {
      // Our own rows, committed on a connection that was lost before it could say so.
      return { facts: factsOf(payment, known.order.accepted_at), approveUntil: known.order.approve_until };
    }
    return { told: await answerKnown(core, command, payment, known) };
  }
  throw new Problem('overloaded', 'The key could not be taken; nothing was stored.', { retryAfterSeconds: 1 });
}

async function submitNew(core: PaymentsCore, payment: NewPayment, deadline: number): Promise<Committed<Accepted>> {
  try {
    return await core.accept.submit(payment, deadline - ANSWER_RESERVE_MS);
  } catch (error) {
    if (error instanceof QueueFull || error instanceof NotSent) {
      throw new Problem('overloaded', 'Too many payments are waiting; nothing was stored.', {
        retryAfterSeconds: 1,
        cause: error,
      });
    }
    if (error instanceof CommitUnknown) {
      throw new Problem(
        'database_unavailable',
        'The order may or may not be stored; nothing was sent to a bank. Send the same request again.',
        { retryAfterSeconds: 1, cause: error },
      );
    }
    throw error;
  }
}

/** The bank call, outside any transaction, and commit 2. Told by the deadline, whatever commit 2 does. */
async function callAndLearn(
  core: PaymentsCore,
  command: TakePaymentCommand,
  payment: NewPayment,
  facts: OrderFacts,
  approveUntil: string,
  deadline: number,
): Promise<Told> {
  const outcome = await callBank(core, command, payment, deadline);
  const inDoubt: Told = {
    status: 202,
    body: answerJson(facts, 'in_doubt', { approveUntil }),
    replayed: false,
    orderId: payment.orderId,
    retryAfterSeconds: 1,
    final: false,
  };
  // Tried until the lease ends, a little beyond what the terminal waits for: the resolver must then not have to ask.
  const learning = core.learnt.submit(learntOf(payment, facts, outcome), deadline + LEASE_MARGIN_MS / 2);
  const committed = await beforeDeadline(learning, deadline - performance.now(), (error) =>
    core.logger.error(
      { order_id: payment.orderId, channel: payment.channel, err: error },
      'commit 2 not confirmed; the resolver takes over',
    ),
  );
  if (committed === null) return inDoubt;
  if (committed.kind === 'absent') return toldOfPresent(core, command, payment, inDoubt);
  return toldOf(committed.row, payment.orderId) ?? inDoubt;
}

async function callBank(
  core: PaymentsCore,
  command: TakePaymentCommand,
  payment: NewPayment,
  deadline: number,
): Promise<ChargeOutcome> {
  const channel = core.channels.get(payment.channel);
  const stop = deadline - ANSWER_RESERVE_MS;
  if (channel === undefined || performance.now() >= stop) {
    return { kind: 'not_sent', reason: 'deadline_before_send', refusedByUs: true, retryAfterSeconds: null };
  }
  try {
    return await channel.pay(chargeOf(command, payment), {
      sendBefore: stop,
      deadline: stop,
      traceparent: command.traceparent,
      consumer: payment.merchantId,
    });
  } catch (error) {
    // A bug in an adapter: whether bytes left is not known, so the order is in doubt, never failed.
    core.logger.error({ order_id: payment.orderId, channel: payment.channel, err: error }, 'bank adapter threw');
    return { kind: 'in_doubt', reason: 'adapter_error', evidence: null };
  }
}

/** Commit 2's guard failed: ours on a lost connection, a void, or a resolver past our lease. The row says. */
async function toldOfPresent(
  core: PaymentsCore,
  command: TakePaymentCommand,
  payment: NewPayment,
  inDoubt: Told,
): Promise<Told> {
  const known = await findKnown(core, payment);
  return known?.kind === 'order' ? { ...(await answerKnown(core, command, payment, known)), replayed: false } : inDoubt;
}

function toldOf(moved: Moved, orderId: string): Told | null {
  if (moved.answer === null) return null;
  return { status: 201, body: moved.answer, replayed: false, orderId, retryAfterSeconds: null, final: true };
}

function refuseWhatCannotBe({ merchant, request }: TakePaymentCommand, nowMs: number): void {
  if (!merchant.currencies.has(request.currency)) {
    throw new Problem('currency_not_enabled', `${request.currency} is not enabled for this merchant.`, {
      errors: [{ pointer: '/currency', detail: 'is not enabled for this merchant' }],
    });
  }
  const age = nowMs - Date.parse(request.transaction_time);
  if (age > OLDEST_TRANSACTION_MS || age < -NEWEST_TRANSACTION_MS) {
    throw new Problem(
      'too_old',
      `The transaction time must lie within the last 6 days and not more than a day ahead of ${new Date(nowMs).toISOString()}.`,
      {
        errors: [{ pointer: '/transaction_time', detail: 'is outside what is accepted' }],
      },
    );
  }
}

function newPayment(
  core: PaymentsCore,
  command: TakePaymentCommand,
  route: Route,
  nowMs: number,
  deadline: number,
): NewPayment {
  const { terminal, merchant, request } = command;
  const { merchantId } = merchant;
  const orderId = uuidv7(nowMs);
  const method = request.payment_method;
  const card = method.type === 'card' ? method : null;
  const phone = request.user?.phone;
  return {
    merchantId,
    orderId,
    keyHash: keyHash(terminal.terminalId, command.idempotencyKey),
    traceHash: traceHash(terminal.terminalId, request.batch_number, request.trace_number),
    terminalId: terminal.terminalId,
    livemode: terminal.livemode,
    amount: request.amount,
    currency: request.currency,
    method: method.type,
    channel: route.channel,
    batchNumber: request.batch_number,
    traceNumber: request.trace_number,
    merchantReference: request.merchant_reference ?? null,
    fingerprint: core.vault.fingerprint(method.type === 'card' ? method.number : method.code),
    cardBin: card?.number.slice(0, 6) ?? null,
    cardLastFour: card?.number.slice(-4) ?? null,
    cardSealed: card === null ? null : core.vault.seal(card.number, { merchantId, orderId, field: 'card' }),
    phoneSealed: phone === undefined ? null : core.vault.seal(phone, { merchantId, orderId, field: 'phone' }),
    userId: request.user?.id ?? null,
    device: request.device === undefined ? null : JSON.stringify(request.device),
    discounts: discountsText(request),
    transactionTime: request.transaction_time,
    businessDate: businessDateCached(nowMs, merchant.timeZone, merchant.cutover),
    remainingMs: Math.max(0, Math.ceil(deadline - performance.now())),
    voidWindowMs: merchant.voidWindowMs,
    leaseOwner: core.owner,
    bankReference: bankReference(orderId, 1),
    bankMerchantNumber: route.merchantNumber,
    bankTerminalNumber: route.terminalNumber,
    traceparent: command.traceparent,
  };
}

function factsOf(payment: NewPayment, acceptedAt: string): OrderFacts {
  return { ...payment, acceptedAt };
}

/** Track, CVV and PIN block go from the request's memory to the bank and nowhere else. */
function chargeOf({ request }: TakePaymentCommand, payment: NewPayment): Charge {
  const method = request.payment_method;
  return {
    bankReference: payment.bankReference,
    merchantNumber: payment.bankMerchantNumber,
    terminalNumber: payment.bankTerminalNumber,
    amount: payment.amount,
    currency: payment.currency,
    livemode: payment.livemode,
    instrument:
      method.type === 'code'
        ? { type: 'code', code: method.code }
        : {
            type: 'card',
            number: method.number,
            expiryMonth: method.expiry_month,
            expiryYear: method.expiry_year,
            entryMode: method.entry_mode,
            ...(method.track2 === undefined ? {} : { track2: method.track2 }),
            ...(method.cvv === undefined ? {} : { cvv: method.cvv }),
            ...(method.pin_block === undefined ? {} : { pinBlock: method.pin_block }),
          },
  };
}

function learntOf(payment: NewPayment, facts: OrderFacts, outcome: ChargeOutcome): Learnt {
  return {
    merchantId: payment.merchantId,
    orderId: payment.orderId,
    attemptNo: 1,
    leaseOwner: payment.leaseOwner,
    leaseEpoch: 1,
    traceparent: payment.traceparent,
    ...learntFrom(facts, outcome),
  };
}

/** What an outcome of a charge or an inquiry teaches, with each answer it may lead to. */
export function learntFrom(
  facts: OrderFacts,
  outcome: ChargeOutcome,
): Omit<Learnt, 'merchantId' | 'orderId' | 'attemptNo' | 'leaseOwner' | 'leaseEpoch' | 'traceparent'> {
  const evidence = 'evidence' in outcome && outcome.evidence !== null ? JSON.stringify(outcome.evidence) : null;
  const nothing = {
    approvedAmount: null,
    declineCode: null,
    reason: null,
    rrn: null,
    authorizationCode: null,
    bankCode: null,
    answerAsLearnt: null,
    answerCancelled: null,
  };
  const common = {
    ...nothing,
    learning: outcome.kind,
    evidence,
    answerNotCompleted: answerJson(facts, 'not_completed'),
  };
  switch (outcome.kind) {
    case 'approved': {
      const { amount: approvedAmount, authorizationCode, rrn, bankCode } = outcome;
      return {
        ...common,
        approvedAmount,
        authorizationCode,
        rrn,
        bankCode,
        answerAsLearnt: answerJson(facts, 'approved', { approvedAmount, authorizationCode, rrn }),
      };
    }
    case 'declined': {
      const { declineCode, bankCode } = outcome;
      return {
        ...common,
        declineCode,
        bankCode,
        answerNotCompleted: null,
        answerAsLearnt: answerJson(facts, 'declined', { declineCode }),
      };
    }
    case 'in_doubt':
      return { ...common, reason: outcome.reason };
    case 'not_sent':
      return { ...common, reason: outcome.reason, answerCancelled: answerJson(facts, 'cancelled') };
  }
}

/** The promise's value, or null when it fails or `ms` pass first; a failure is reported, late ones too. */
async function beforeDeadline<T>(
  promise: Promise<T>,
  ms: number,
  onError: (error: unknown) => void,
): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms), null);
  });
  const settled = promise.catch((error: unknown) => {
    onError(error);
    return null;
  });
  try {
    return await Promise.race([settled, late]);
  } finally {
    clearTimeout(timer);
  }
}
