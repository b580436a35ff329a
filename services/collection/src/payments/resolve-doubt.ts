// One order past its lease, under a new one: ask the bank by our own reference, or send the reversal that is due, and
// learn what it says. Nothing is guessed: what the bank cannot say leaves the order where it is, for another try later.
import type { ChargeIdentity } from '@ballast/channels';
import { answerJson } from './answer.ts';
import type { PaymentsCore } from './core.ts';
import { type Candidate, type Leased, putBack, takeLease } from './orders.sql.ts';
import type { Learning } from './payment.ts';
import type { Learnt } from './payments.sql.ts';
import { factsOfRow } from './replay.ts';
import { learntFrom } from './take-payment.ts';

const CALL_MS = 10_000;
const LEASE_MS = CALL_MS + 5_000;
const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 60_000;

/** Resolves to what was learnt, or null when another instance has the order or nothing new is known. */
export async function resolveDoubt(core: PaymentsCore, candidate: Candidate): Promise<Learning | null> {
  const leased = await takeLease(core.knex, candidate, core.owner, LEASE_MS);
  if (leased === undefined) return null;
  const channel = core.channels.get(leased.channel);
  const learnt = channel === undefined ? null : await ask(core, leased);
  if (learnt === null) {
    await putBack(core.knex, leased, delayAfter(leased.tries));
    return null;
  }
  const committed = await core.learnt.submit(learnt, performance.now() + LEASE_MS - CALL_MS);
  return committed.kind === 'applied' ? learnt.learning : null;
}

/** Doubles from one second to one minute, with jitter so that a bank that comes back is not met by all at once. */
function delayAfter(tries: number): number {
  const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(tries, 16));
  return Math.round(delay * (0.5 + Math.random() / 2));
}

function ask(core: PaymentsCore, leased: Leased): Promise<Learnt | null> {
  return leased.status === 'reversing' ? askToReverse(core, leased) : inquire(core, leased);
}

async function inquire(core: PaymentsCore, leased: Leased): Promise<Learnt | null> {
  const channel = channelOf(core, leased);
  const outcome = await channel.inquire(identityOf(leased), callOptions(leased));
  switch (outcome.kind) {
    case 'approved':
    case 'declined':
      return { ...frame(leased), ...learntFrom(factsOfRow(leased), outcome) };
    case 'not_found': {
      // Our request may still be on its way until the bank's horizon has passed since it could last have left.
      if (leased.status === 'processing' || leased.since_last_send_ms < channel.horizonMs)
        return fallInDoubt(leased, 'not_found_before_horizon');
      const evidence = JSON.stringify(outcome.evidence);
      return {
        ...learning(leased, 'not_found'),
        evidence,
        reason: 'bank_knows_nothing',
        answerNotCompleted: answerJson(factsOfRow(leased), 'not_completed'),
      };
    }
    case 'in_doubt':
    case 'not_sent':
      return fallInDoubt(leased, outcome.reason);
  }
}

/** An order still `processing` past its lease (its process died) becomes in doubt; one that is, stays as it is. */
function fallInDoubt(leased: Leased, reason: string): Learnt | null {
  if (leased.status !== 'processing') return null;
  return {
    ...learning(leased, 'in_doubt'),
    reason,
    answerNotCompleted: answerJson(factsOfRow(leased), 'not_completed'),
  };
}

async function askToReverse(core: PaymentsCore, leased: Leased): Promise<Learnt | null> {
  const channel = channelOf(core, leased);
  const outcome = await channel.reverse(identityOf(leased), leased.tries > 0, callOptions(leased));
  switch (outcome.kind) {
    case 'reversed':
      return { ...learning(leased, 'reversed'), evidence: JSON.stringify(outcome.evidence) };
    case 'refused':
      return {
        ...learning(leased, 'reversal_refused'),
        bankCode: outcome.bankCode,
        evidence: JSON.stringify(outcome.evidence),
      };
    case 'not_found':
      if (leased.since_last_send_ms < channel.horizonMs && !channel.keepsEarlyReversals) return null;
      return {
        ...learning(leased, 'reversed'),
        reason: 'bank_knows_nothing',
        evidence: JSON.stringify(outcome.evidence),
      };
    case 'in_doubt':
    case 'not_sent':
      return null;
  }
}

function channelOf(core: PaymentsCore, leased: Leased) {
  const channel = core.channels.get(leased.channel);
  if (channel === undefined) throw new Error(`BUG: no channel ${leased.channel}`);
  return channel;
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

function callOptions(leased: Leased) {
  const now = performance.now();
  return { sendBefore: now + CALL_MS, deadline: now + CALL_MS, traceparent: null, consumer: leased.merchant_id };
}

function frame(leased: Leased) {
  return {
    merchantId: leased.merchant_id,
    orderId: leased.order_id,
    attemptNo: leased.attempt_no,
    leaseOwner: leased.lease_owner,
    leaseEpoch: leased.lease_epoch,
    traceparent: null,
  };
}

function learning(leased: Leased, kind: Learning): Learnt {
  return {
    ...frame(leased),
    learning: kind,
    approvedAmount: null,
    declineCode: null,
    reason: null,
    rrn: null,
    authorizationCode: null,
    bankCode: null,
    evidence: null,
    answerAsLearnt: null,
    answerNotCompleted: null,
    answerCancelled: null,
  };
}
