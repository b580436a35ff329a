// One payment, from its parsed request to what the terminal is told:
//
//   commit 1 (key, order, attempt `sent`, event)  →  the bank, no transaction open  →  commit 2 (outcome, answer, event)
//
// Nothing here guesses: without a clear word of the bank the order is in doubt and the resolver goes on from there. Lines
// that begin with `// step:` name the moments at which the sweep (load-tests/sweep) kills the process.
import type { ChannelRefusal, ChargeOutcome } from '@ballast/channels';
import { Problem, publicId } from '@ballast/contracts';
import { type Committed, CommitUnknown, NotSent, QueueFull } from '@ballast/database';
import type { Reservation } from '@ballast/resilience';
import type { Route } from '../merchants/directory.ts';
import { answerJson, type OrderFacts } from './answer.ts';
import { findPlace, type Place, routesInOrder } from './channel-choice.ts';
import type { PaymentsCore, SoFar, TakePaymentCommand, Told } from './core.ts';
import { beforeDeadline, expired } from './deadline.ts';
import { takeStaleAnswer } from './late-answer.ts';
import { lessonOf } from './learnt.ts';
import { type Attempt, attemptAt, chargeOf, identitiesOf, newPayment } from './new-payment.ts';
import { noteDoubtfulAnswer } from './odd-answers.ts';
import { beginNextAttempt, findOrder } from './orders.sql.ts';
import type { Accepted, Moved, NewPayment } from './payments.sql.ts';
import { LEASE_MARGIN_MS } from './payments.sql.ts';
import { answerKnown, cancelNew, findKnown, presentOf } from './replay.ts';
import { tooOld } from './transaction-time.ts';

/** Kept back from the terminal's deadline for commit 2 and the reply: its p99 at saturation is 26 ms, its slow lane's 200. */
const ANSWER_RESERVE_MS = 300;
/** Whatever hangs, the terminal is told what is known so far this long before its deadline. */
const LAST_WORD_MS = 50;
/** With less time than this for the bank another channel is not tried. */
const LEAST_CALL_MS = 500;
const MOST_ATTEMPTS = 3;
/** A key row can vanish between two statements (cleaned) once, not for ever. */
const INSERT_TRIES = 3;
/** Also of a copy of a request that was sent to a bank long ago: so nothing is said about banks. */
const STORED_OR_NOT = 'It is not known whether the payment is stored. Send the same request again.';

/** A payment under way: what is fixed about it once commit 1 stands. */
interface Running {
  readonly command: TakePaymentCommand;
  readonly payment: NewPayment;
  readonly facts: OrderFacts;
  /** What the terminal is told while nothing more is known. */
  readonly inDoubt: Told;
  readonly deadline: number;
  /** Its place at the channel that is called next. */
  readonly reservation: Reservation;
}

export async function takePayment(core: PaymentsCore, command: TakePaymentCommand): Promise<Told> {
  const deadline = command.receivedAt + command.deadlineMs;
  let soFar: SoFar | null = null as SoFar | null;
  const taking = take(core, command, deadline, (stored) => {
    soFar = stored;
  });
  const told = await beforeDeadline(taking, deadline - LAST_WORD_MS, (error) =>
    core.logger.error({ err: error }, 'a payment failed after its terminal was answered; the resolver takes over'),
  );
  if (told !== expired) return told;
  if (soFar !== null) return soFar();
  throw new Problem('database_unavailable', STORED_OR_NOT, { retryAfterSeconds: 1 });
}

async function take(
  core: PaymentsCore,
  command: TakePaymentCommand,
  deadline: number,
  onStored: (soFar: SoFar) => void,
): Promise<Told> {
  const nowMs = core.clock.now();
  const routes = routesInOrder(command.routes, command.request, Math.random).filter((r) =>
    core.channels.has(r.channel),
  );
  const impossible = whatCannotBe(command, nowMs);
  const [preferred] = routes;
  if (impossible !== null || preferred === undefined)
    return refuse(core, command, impossible ?? noChannel(), deadline, onStored);
  const place = findPlace(core.channels, routes, command.merchant.merchantId);
  if ('refusal' in place) return refuse(core, command, closed(place.refusal), deadline, onStored);
  try {
    return await takeAt(core, command, place, nowMs, deadline, onStored);
  } finally {
    place.reservation.giveBack(); // commit 1 failed: the call was never made
  }
}

async function takeAt(
  core: PaymentsCore,
  command: TakePaymentCommand,
  { route, elsewhere, reservation }: Place,
  nowMs: number,
  deadline: number,
  onStored: (soFar: SoFar) => void,
): Promise<Told> {
  const payment = newPayment(core, command, route, nowMs, deadline);

  // step: before commit 1
  const accepted = await accept(core, command, { payment, reservation }, deadline, onStored);
  if ('told' in accepted) return accepted.told;
  // step: after commit 1
  const { facts, approveUntil } = accepted;
  const inDoubt: Told = {
    status: 202,
    body: answerJson(facts, 'in_doubt', { approveUntil }),
    replayed: false,
    orderId: payment.orderId,
    retryAfterSeconds: 1,
    final: false,
  };
  onStored(() => inDoubt);
  const running = callAndLearn(core, { command, payment, facts, inDoubt, deadline, reservation }, route, elsewhere);
  core.inFlight.set(payment.orderId, running);
  try {
    return await running;
  } finally {
    core.inFlight.delete(payment.orderId);
  }
}

/** A refusal stores nothing and uses up no key; but a copy of a request that was taken once still gets its answer. */
async function refuse(
  core: PaymentsCore,
  command: TakePaymentCommand,
  refusal: Problem,
  deadline: number,
  onStored: (soFar: SoFar) => void,
): Promise<Told> {
  const ids = identitiesOf(core, command);
  const known = await findKnown(core, ids, deadline);
  if (known === null || known.kind === 'void_waiting') throw refusal;
  return answerKnown(core, command.request, ids, known, deadline, onStored);
}

function closed({ reason, detail, retryAfterSeconds }: ChannelRefusal): Problem {
  return new Problem('channel_refused', `${reason}: ${detail}`, { retryAfterSeconds: retryAfterSeconds ?? 1 });
}

function noChannel(): Problem {
  return new Problem('no_channel', 'No channel of this merchant takes this payment.', {
    errors: [{ pointer: '/payment_method', detail: 'no route fits method, card and currency' }],
  });
}

/**
 * Commit 1. Either the order is ours to go on with, or the terminal is told about the one that was there first; a copy gives
 * its place at the channel back before it waits for that.
 */
async function accept(
  core: PaymentsCore,
  command: TakePaymentCommand,
  { payment, reservation }: { readonly payment: NewPayment; readonly reservation: Reservation },
  deadline: number,
  onStored: (soFar: SoFar) => void,
): Promise<{ facts: OrderFacts; approveUntil: string } | { told: Told }> {
  for (let attempt = 1; attempt <= INSERT_TRIES; attempt++) {
    const committed = await submitNew(core, payment, deadline);
    if (committed.kind === 'applied' && committed.row.similar_to === null) {
      const { accepted_at, approve_until } = committed.row;
      return { facts: { ...payment, acceptedAt: accepted_at }, approveUntil: approve_until };
    }
    const known = await findKnown(core, payment, deadline);
    if (known?.kind === 'order' && known.order.order_id === payment.orderId) {
      // Our own rows, committed on a connection that was lost before it could say so.
      return {
        facts: { ...payment, acceptedAt: known.order.accepted_at },
        approveUntil: known.order.approve_until,
      };
    }
    if (known !== null) reservation.giveBack();
    if (known?.kind === 'void_waiting') {
      const told = await cancelNew(core, payment);
      if (told !== null) return { told };
      continue; // another copy of it, or the owner of its key, was first
    }
    if (known !== null) return { told: await answerKnown(core, command.request, payment, known, deadline, onStored) };
    if (committed.kind === 'applied') throw suspectedDuplicate(committed.row.similar_to ?? '');
  }
  throw new Problem('overloaded', 'The key could not be taken; this sending stored nothing.', { retryAfterSeconds: 1 });
}

function suspectedDuplicate(similarTo: string): Problem {
  const like = publicId('ord', similarTo);
  return new Problem(
    'suspected_duplicate',
    `A payment with the same card and amount was made at this terminal a moment ago (${like}). If this is another one, send the same request with confirm_duplicate_of.`,
    { orderId: like, errors: [{ pointer: '/confirm_duplicate_of', detail: `must be ${like} to confirm` }] },
  );
}

async function submitNew(core: PaymentsCore, payment: NewPayment, deadline: number): Promise<Committed<Accepted>> {
  try {
    return await core.accept.submit(payment, deadline - ANSWER_RESERVE_MS);
  } catch (error) {
    if (error instanceof QueueFull || error instanceof NotSent) {
      throw new Problem('overloaded', 'Too many payments are waiting; this sending stored nothing.', {
        retryAfterSeconds: 1,
        cause: error,
      });
    }
    if (error instanceof CommitUnknown)
      throw new Problem('database_unavailable', STORED_OR_NOT, { retryAfterSeconds: 1, cause: error });
    throw error;
  }
}

/** The bank call, outside any transaction, and commit 2. Another channel only after one that provably sent nothing. */
async function callAndLearn(
  core: PaymentsCore,
  running: Running,
  first: Route,
  elsewhere: readonly Route[],
): Promise<Told> {
  const { command, payment, inDoubt } = running;
  let attempt = attemptAt(payment.orderId, 1, first);
  let outcome = await callBank(core, running, attempt);
  running.reservation.giveBack(); // nobody used it where we refused the call ourselves
  for (const route of elsewhere) {
    if (outcome.kind !== 'not_sent' || attempt.attemptNo >= MOST_ATTEMPTS) break;
    const place = findPlace(core.channels, [route], command.merchant.merchantId);
    if ('refusal' in place) continue;
    try {
      const next = attemptAt(payment.orderId, attempt.attemptNo + 1, route);
      if (!(await beginElsewhere(core, running, attempt, outcome.reason, next))) break;
      attempt = next;
      outcome = await callBank(core, { ...running, reservation: place.reservation }, attempt);
    } finally {
      place.reservation.giveBack();
    }
  }
  // step: before commit 2
  const told = await learnOutcome(core, running, attempt, outcome).catch((error: unknown) => {
    core.logger.error({ order_id: payment.orderId, err: error }, 'commit 2 not confirmed; the resolver takes over');
    void takeStaleAnswer(core, 'pay', { ...payment, ...attempt }, outcome);
    return inDoubt;
  });
  // step: after commit 2
  logPayment(core, running, attempt.channel, outcome);
  return told;
}

/** The one line of a payment. */
function logPayment(core: PaymentsCore, { command, payment }: Running, channel: string, outcome: ChargeOutcome): void {
  core.logger.info(
    {
      request_id: command.requestId,
      trace_id: command.traceparent?.slice(3, 35),
      order_id: payment.orderId,
      merchant_id: payment.merchantId,
      channel,
      outcome: outcome.kind,
      ...('reason' in outcome ? { reason: outcome.reason } : {}),
      duration_ms: Math.round((performance.now() - command.receivedAt) * 10) / 10,
    },
    'payment',
  );
}

/** Commits the next attempt before it is sent. False: there is no time, or somebody wants a void. */
async function beginElsewhere(
  core: PaymentsCore,
  { command, payment, deadline }: Running,
  failed: Attempt,
  reason: string,
  next: Attempt,
): Promise<boolean> {
  const left = deadline - ANSWER_RESERVE_MS - performance.now();
  if (left < LEAST_CALL_MS) return false;
  try {
    const begun = await beginNextAttempt(core.knex, {
      ...next,
      merchantId: payment.merchantId,
      orderId: payment.orderId,
      leaseOwner: payment.leaseOwner,
      leaseEpoch: 1,
      attemptNo: failed.attemptNo,
      reason,
      remainingMs: Math.ceil(left + ANSWER_RESERVE_MS),
      traceparent: command.traceparent,
    });
    // step: after the next attempt's commit
    return begun;
  } catch (error) {
    core.logger.error({ order_id: payment.orderId, channel: next.channel, err: error }, 'no other channel was tried');
    return false;
  }
}

async function callBank(
  core: PaymentsCore,
  { command, payment, deadline, reservation }: Running,
  attempt: Attempt,
): Promise<ChargeOutcome> {
  const channel = core.channels.get(attempt.channel);
  const stop = deadline - ANSWER_RESERVE_MS;
  if (channel === undefined || performance.now() >= stop) {
    return { kind: 'not_sent', reason: 'deadline_before_send', refusedByUs: true, retryAfterSeconds: null };
  }
  try {
    // step: before the charge is sent
    const outcome = await channel.pay(chargeOf(command, payment, attempt), {
      sendBefore: stop,
      deadline: stop,
      traceparent: command.traceparent,
      consumer: payment.merchantId,
      reservation,
    });
    noteDoubtfulAnswer(core, 'pay', { ...payment, ...attempt }, outcome);
    return outcome;
  } catch (error) {
    // A bug in an adapter: whether bytes left is not known, so the order is in doubt, never failed.
    core.logger.error({ order_id: payment.orderId, channel: attempt.channel, err: error }, 'bank adapter threw');
    return { kind: 'in_doubt', reason: 'adapter_error', evidence: null };
  }
}

/** Commit 2. What cannot be confirmed in time is told as in doubt, never as approved. */
async function learnOutcome(
  core: PaymentsCore,
  { command, payment, facts, inDoubt, deadline }: Running,
  attempt: Attempt,
  outcome: ChargeOutcome,
): Promise<Told> {
  const { attemptNo } = attempt;
  const learnt = {
    merchantId: payment.merchantId,
    orderId: payment.orderId,
    attemptNo,
    leaseOwner: payment.leaseOwner,
    leaseEpoch: 1,
    traceparent: command.traceparent,
    ...lessonOf(facts, outcome),
  };
  // Tried until the lease ends, a little beyond what the terminal waits for: the resolver must then not have to ask.
  const committed = await core.learnt.submit(learnt, deadline + LEASE_MARGIN_MS / 2);
  if (committed.kind === 'applied') return toldOf(committed.row, payment.orderId) ?? inDoubt;
  // The guard failed: it was ours on a lost connection, or a void, a late answer or a resolver was first. The bank's word
  // counts all the same; what the terminal is told, the row says.
  await takeStaleAnswer(core, 'pay', { ...payment, ...attempt }, outcome);
  const present = await findOrder(core.knex, payment.merchantId, payment.orderId);
  if (present === undefined) throw new Error(`BUG: order ${payment.orderId} vanished`);
  const begunUnheard = present.status === 'processing' && present.attempt_no === attemptNo + 1;
  if (outcome.kind === 'not_sent' && begunUnheard) {
    // The next attempt was committed on a connection that was lost before it could say so. Neither was sent.
    const again = await core.learnt.submit({ ...learnt, attemptNo: attemptNo + 1 }, deadline + LEASE_MARGIN_MS / 2);
    return again.kind === 'applied' ? (toldOf(again.row, payment.orderId) ?? inDoubt) : inDoubt;
  }
  if (present.answer === null) return present.status === 'processing' ? inDoubt : presentOf(present);
  return toldFinally(present.answer, payment.orderId);
}

function toldOf(moved: Moved, orderId: string): Told | null {
  return moved.answer === null ? null : toldFinally(moved.answer, orderId);
}

function toldFinally(body: string, orderId: string): Told {
  return { status: 201, body, replayed: false, orderId, retryAfterSeconds: null, final: true };
}

/** The age first: what was taken longer ago than keys are kept is not known any more, whatever else is wrong now. */
function whatCannotBe({ merchant, request }: TakePaymentCommand, nowMs: number): Problem | null {
  const old = tooOld(request.transaction_time, nowMs);
  if (old !== null || merchant.currencies.has(request.currency)) return old;
  return new Problem('currency_not_enabled', `${request.currency} is not enabled for this merchant.`, {
    errors: [{ pointer: '/currency', detail: 'is not enabled for this merchant' }],
  });
}
