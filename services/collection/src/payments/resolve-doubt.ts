// One order that is due, under a new lease: ask the bank by our own reference, or send the reversal that is owed, and
// learn what it says. Nothing is guessed: what the bank cannot say leaves the order where it is, for another try later.
import type { BankChannel, ChargeIdentity, Evidence, InquiryOutcome, ReversalOutcome } from '@ballast/channels';
import type { OrderStatus } from '@ballast/contracts';
import type { PaymentsCore } from './core.ts';
import { takeStaleAnswer } from './late-answer.ts';
import { decided } from './learn-outside.ts';
import { type Lesson, lesson, lessonOf } from './learnt.ts';
import { type Candidate, type Leased, LONGEST_DEADLINE_MS, putBack, takeLease } from './leases.sql.ts';
import { makeMove } from './moves.sql.ts';
import { noteDoubtfulAnswer } from './odd-answers.ts';
import { type AttemptState, isOpen, type Learning, looseMoveOf } from './payment.ts';
import { openCaseOfSilence, wasAnsweredOddly } from './persons.sql.ts';
import { factsOfRow } from './replay.ts';
import { delayAfter } from './resolving.ts';

export type Resolution =
  /** Another instance has it, or it ended meanwhile. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'learnt'; readonly learning: Learning }
  | { readonly kind: 'with_person' }
  | { readonly kind: 'waiting' }
  /** Our own policy let nothing through for a while: of this order's merchant only, or of the whole line. */
  | { readonly kind: 'refused'; readonly retryAfterMs: number; readonly wholeLine: boolean };

/** What one call of the bank came to. */
type Step =
  | { readonly kind: 'lesson'; readonly lesson: Lesson }
  | { readonly kind: 'exhausted'; readonly lesson: Lesson }
  /** `unsent`: why nothing left for the bank; null: it was asked. */
  | { readonly kind: 'wait'; readonly delayMs: number; readonly unsent: string | null }
  | {
      readonly kind: 'refused';
      readonly retryAfterMs: number;
      readonly wholeLine: boolean;
      readonly unsent: string;
    };

/** What the bank said, and what follows from it. */
interface Heard {
  readonly operation: 'inquiry' | 'reversal';
  readonly outcome: InquiryOutcome | ReversalOutcome;
  readonly step: Step;
}

const REFUSED_PAUSE_MS = 1_000;
/** The channel's word for its one rule that counts per merchant; every other refusal meets the next order too. */
const REFUSED_FOR_MERCHANT = 'refused_quota';

export async function resolveDoubt(core: PaymentsCore, candidate: Candidate): Promise<Resolution> {
  const { callMs, leaseMarginMs } = core.resolving;
  // Counted from before the lease: a process that slept since then sends nothing under a lease that is no longer its own.
  const until = performance.now() + callMs;
  const taken = await takeLease(core.knex, candidate, core.owner, callMs + leaseMarginMs);
  if (taken === undefined) return { kind: 'gone' };
  const leased = { ...taken, since_last_send_ms: provenSinceLastSend(core, taken) };
  const channel = core.channels.get(leased.channel);
  if (channel === undefined) throw new Error(`BUG: no channel ${leased.channel}`);
  // step: lease taken
  const heard =
    leased.work === 'reverse'
      ? await reverse(core, channel, leased, until)
      : await inquire(core, channel, leased, until);
  // step: bank has answered the resolver
  const { step } = heard;
  switch (step.kind) {
    case 'lesson': {
      const applied = await learnHeard(core, leased, heard, step.lesson, until + leaseMarginMs);
      // step: resolver has learnt
      return applied ? { kind: 'learnt', learning: step.lesson.learning } : { kind: 'gone' };
    }
    case 'exhausted':
      return (await move(core, leased, 'needs_person', step.lesson)) ? { kind: 'with_person' } : { kind: 'gone' };
    case 'wait':
      await putBack(core.knex, leased, step.delayMs, step.unsent !== null);
      await tellPersonOfSilence(core, leased, step.unsent);
      return { kind: 'waiting' };
    case 'refused':
      await putBack(core.knex, leased, step.retryAfterMs, true);
      await tellPersonOfSilence(core, leased, step.unsent);
      return step;
  }
}

/** A clock that jumped ahead says nothing about the time before: from then on it counts anew, and our request could still leave. */
function provenSinceLastSend(core: PaymentsCore, { since_last_send_ms, taken_at_ms }: Leased): number {
  return Math.min(since_last_send_ms, core.clock.steadyMs(taken_at_ms) - LONGEST_DEADLINE_MS);
}

/**
 * A reversal that cannot even be sent is tried for as long as it takes; but a bank that nobody reaches for so long is a
 * person's business too. The order stays where it is, and the case ends by itself when it moves (workers/resolver.ts).
 */
async function tellPersonOfSilence(core: PaymentsCore, leased: Leased, unsent: string | null): Promise<void> {
  if (unsent === null || leased.work !== 'reverse') return;
  const silentMs = core.resolving.silenceBeforePersonMs;
  if (await openCaseOfSilence(core.knex, { ...askedOf(leased), silentMs, why: unsent }))
    core.logger.error(
      { order_id: leased.order_id, channel: leased.channel, reason: unsent },
      'a reversal reaches no bank',
    );
}

async function inquire(core: PaymentsCore, channel: BankChannel, leased: Leased, until: number): Promise<Heard> {
  const outcome = await channel.inquire(identityOf(leased), callOptions(leased, until));
  noteDoubtfulAnswer(core, 'inquiry', askedOf(leased), outcome);
  const before = outcome.kind === 'not_found' ? await saidBefore(core, leased) : null;
  return { operation: 'inquiry', outcome, step: afterInquiry(core, channel, leased, outcome, before) };
}

/** One desk's "never heard of it" does not undo what another has said of the charge. Null: nothing was said. */
async function saidBefore(core: PaymentsCore, leased: Leased): Promise<'approval' | 'odd_answer' | null> {
  if (leased.rrn !== null) return 'approval';
  return (await wasAnsweredOddly(core.knex, askedOf(leased))) ? 'odd_answer' : null;
}

function afterInquiry(
  core: PaymentsCore,
  channel: BankChannel,
  leased: Leased,
  outcome: InquiryOutcome,
  before: Awaited<ReturnType<typeof saidBefore>>,
): Step {
  const facts = factsOfRow(leased);
  switch (outcome.kind) {
    case 'approved':
    case 'declined':
      return { kind: 'lesson', lesson: lessonOf(facts, outcome) };
    case 'not_found':
      if (before !== null) return undecided(core, leased, `not_found_after_${before}`, outcome.evidence, channel);
      // Our request may still be on its way until the bank's horizon has passed since it could last have left.
      if (leased.status === 'in_doubt' && leased.since_last_send_ms >= channel.horizonMs)
        return { kind: 'lesson', lesson: lesson(facts, 'not_found', 'bank_knows_nothing', outcome.evidence) };
      return undecided(core, leased, 'not_found_before_horizon', outcome.evidence, channel);
    case 'in_doubt':
      return undecided(core, leased, outcome.reason, outcome.evidence, channel);
    case 'not_sent':
      if (leased.status === 'processing') return inDoubt(leased, outcome.reason, null);
      // Once late, any approval is given back: what the bank would say, were it reached, is not worth waiting for.
      if (leased.late) return unwanted(leased, outcome.reason, null);
      return notSent(core, leased, outcome);
  }
}

/** Nothing clear. Before approve_until: ask again. After it nobody waits for an approval: soon the reversal. */
function undecided(
  core: PaymentsCore,
  leased: Leased,
  reason: string,
  evidence: Evidence | null,
  channel: BankChannel,
): Step {
  // Its process died between the two commits.
  if (leased.status === 'processing') return inDoubt(leased, reason, evidence);
  const undone = reason === 'reversed_at_bank'; // by the bank itself; it acknowledges ours and both books agree
  const given =
    leased.late && (reason === 'customer_must_confirm' || leased.tries >= core.resolving.inquiriesBeforeReversal);
  return undone || given ? unwanted(leased, reason, evidence) : wait(core, leased, channel);
}

function unwanted(leased: Leased, reason: string, evidence: Evidence | null): Step {
  return { kind: 'lesson', lesson: lesson(factsOfRow(leased), 'unwanted', reason, evidence) };
}

function inDoubt(leased: Leased, reason: string, evidence: Evidence | null): Step {
  return { kind: 'lesson', lesson: lesson(factsOfRow(leased), 'in_doubt', reason, evidence) };
}

async function reverse(core: PaymentsCore, channel: BankChannel, leased: Leased, until: number): Promise<Heard> {
  const outcome = await channel.reverse(identityOf(leased), leased.tries > 1, callOptions(leased, until));
  noteDoubtfulAnswer(core, 'reversal', askedOf(leased), outcome);
  const before = outcome.kind === 'not_found' ? await saidBefore(core, leased) : null;
  return { operation: 'reversal', outcome, step: afterReversal(core, channel, leased, outcome, before) };
}

function afterReversal(
  core: PaymentsCore,
  channel: BankChannel,
  leased: Leased,
  outcome: ReversalOutcome,
  before: Awaited<ReturnType<typeof saidBefore>>,
): Step {
  const facts = factsOfRow(leased);
  switch (outcome.kind) {
    case 'reversed':
      return { kind: 'lesson', lesson: lesson(facts, 'reversed', null, outcome.evidence) };
    case 'refused':
      return {
        kind: 'lesson',
        lesson: {
          ...lesson(facts, 'reversal_refused', 'bank_refused_reversal', outcome.evidence),
          bankCode: outcome.bankCode,
        },
      };
    case 'not_found':
      if (before !== null) return unacknowledged(core, leased, `not_found_after_${before}`, outcome.evidence, channel);
      if (channel.keepsEarlyReversals || leased.since_last_send_ms >= channel.horizonMs)
        return { kind: 'lesson', lesson: lesson(facts, 'not_found', 'bank_knows_nothing', outcome.evidence) };
      return wait(core, leased, channel);
    case 'in_doubt':
      return unacknowledged(core, leased, outcome.reason, outcome.evidence, channel);
    case 'not_sent':
      return notSent(core, leased, outcome);
  }
}

/** Again, with the repeat mark; what exhausts its tries goes to a person. */
function unacknowledged(
  core: PaymentsCore,
  leased: Leased,
  reason: string,
  evidence: Evidence | null,
  channel: BankChannel,
): Step {
  if (leased.tries < core.resolving.reversalsBeforePerson) return wait(core, leased, channel);
  return { kind: 'exhausted', lesson: lesson(factsOfRow(leased), 'in_doubt', `reversal_${reason}`, evidence) };
}

/** The next try; one falls just behind the bank's horizon, where "not found" becomes an answer. */
function wait(core: PaymentsCore, leased: Leased, channel: BankChannel): Step {
  const delay = delayAfter(leased.tries, core.resolving);
  const untilHorizon = channel.horizonMs - leased.since_last_send_ms;
  return {
    kind: 'wait',
    delayMs: untilHorizon > 0 ? Math.min(delay, Math.ceil(untilHorizon) + 1) : delay,
    unsent: null,
  };
}

function notSent(
  core: PaymentsCore,
  leased: Leased,
  {
    reason,
    refusedByUs,
    retryAfterSeconds,
  }: { reason: string; refusedByUs: boolean; retryAfterSeconds: number | null },
): Step {
  if (refusedByUs) {
    const retryAfterMs = retryAfterSeconds === null ? REFUSED_PAUSE_MS : retryAfterSeconds * 1_000;
    return { kind: 'refused', retryAfterMs, wholeLine: reason !== REFUSED_FOR_MERCHANT, unsent: reason };
  }
  return { kind: 'wait', delayMs: delayAfter(leased.tries, core.resolving), unsent: reason };
}

/** What the bank said counts also when the lease was taken meanwhile, or the commit failed. */
async function learnHeard(
  core: PaymentsCore,
  leased: Leased,
  { operation, outcome }: Heard,
  learnt: Lesson,
  leaseEnd: number,
): Promise<boolean> {
  try {
    if (await learnUnderLease(core, leased, learnt, leaseEnd)) return true;
  } catch (error) {
    void takeStaleAnswer(core, operation, askedOf(leased), outcome);
    throw error;
  }
  await takeStaleAnswer(core, operation, askedOf(leased), outcome);
  return false;
}

/** An open order moves by the batch statement; an attempt whose order has ended moves alone. */
async function learnUnderLease(core: PaymentsCore, leased: Leased, learnt: Lesson, leaseEnd: number): Promise<boolean> {
  if (!isOpen(leased.status as OrderStatus)) {
    const state = looseMoveOf(learnt.learning, leased.state as AttemptState);
    return state !== null && move(core, leased, state, learnt);
  }
  const committed = await core.learnt.submit(
    {
      merchantId: leased.merchant_id,
      orderId: leased.order_id,
      attemptNo: leased.attempt_no,
      leaseOwner: leased.lease_owner,
      leaseEpoch: leased.lease_epoch,
      traceparent: null,
      ...learnt,
    },
    leaseEnd,
  );
  return committed.kind === 'applied';
}

function move(core: PaymentsCore, leased: Leased, attempt: AttemptState, learnt: Lesson): Promise<boolean> {
  const status = leased.status as OrderStatus;
  const row = { ...leased, status, state: leased.state as AttemptState };
  const lease = { leaseOwner: leased.lease_owner, leaseEpoch: leased.lease_epoch };
  return makeMove(
    core.knex,
    decided(row, leased.attempt_no, { order: status, attempt, answer: null }, learnt, null, lease),
  );
}

function askedOf(leased: Leased) {
  return {
    merchantId: leased.merchant_id,
    orderId: leased.order_id,
    attemptNo: leased.attempt_no,
    channel: leased.channel,
    bankReference: leased.bank_reference,
  };
}

function identityOf(leased: Leased): ChargeIdentity {
  return {
    bankReference: leased.bank_reference,
    merchantNumber: leased.bank_merchant_number,
    terminalNumber: leased.bank_terminal_number,
    amount: leased.amount,
    currency: leased.currency,
    livemode: leased.livemode,
  };
}

function callOptions(leased: Leased, until: number) {
  return { sendBefore: until, deadline: until, traceparent: null, consumer: leased.merchant_id };
}
