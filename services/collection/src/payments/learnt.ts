// What an outcome teaches about an order, with each answer it may lead to: composed before the commit, because the answer
// that the terminal is told is stored by the very statement that decides.
import type { ChargeOutcome, Evidence } from '@ballast/channels';
import { answerJson, type OrderFacts } from './answer.ts';
import type { Learning } from './payment.ts';
import type { Learnt } from './payments.sql.ts';

/** Everything of a `Learnt` but whose it is and under which lease. */
export type Lesson = Omit<Learnt, 'merchantId' | 'orderId' | 'attemptNo' | 'leaseOwner' | 'leaseEpoch' | 'traceparent'>;

/** A learning without details: doubt, the end of waiting, a reversal. */
export function lesson(
  facts: OrderFacts,
  learning: Learning,
  reason: string | null,
  evidence: Evidence | null,
): Lesson {
  return {
    learning,
    approvedAmount: null,
    declineCode: null,
    reason,
    rrn: null,
    authorizationCode: null,
    bankCode: null,
    evidence: evidence === null ? null : JSON.stringify(evidence),
    answerAsLearnt: null,
    answerNotCompleted: answerJson(facts, 'not_completed'),
    answerCancelled: null,
  };
}

/** What a charge's or an inquiry's outcome teaches. */
export function lessonOf(facts: OrderFacts, outcome: ChargeOutcome): Lesson {
  switch (outcome.kind) {
    case 'approved': {
      const { amount: approvedAmount, authorizationCode, rrn, bankCode } = outcome;
      return {
        ...lesson(facts, 'approved', null, outcome.evidence),
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
        ...lesson(facts, 'declined', null, outcome.evidence),
        declineCode,
        bankCode,
        answerAsLearnt: answerJson(facts, 'declined', { declineCode }),
      };
    }
    case 'in_doubt':
      return lesson(facts, 'in_doubt', outcome.reason, outcome.evidence);
    case 'not_sent':
      return {
        ...lesson(facts, 'not_sent', outcome.reason, null),
        answerCancelled: answerJson(facts, 'cancelled'),
      };
  }
}
