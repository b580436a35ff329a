// A person has it in writing from the bank: what became of an attempt that is with people. The proof is kept with the
// case, and the outcome moves attempt and order by the very rules that an answer of the bank follows.
import { Problem, publicId } from '@ballast/contracts';
import { answerJson } from './answer.ts';
import type { PaymentsCore } from './core.ts';
import { learnOutside } from './learn-outside.ts';
import { type Lesson, lesson } from './learnt.ts';
import type { MovableRow } from './moves.sql.ts';
import type { AttemptState } from './payment.ts';
import { closeCase, openCaseOf, type PersonCase } from './persons.sql.ts';
import { factsOfRow } from './replay.ts';
import { notWithPerson } from './try-again.ts';

export const provenOutcomes = ['approved', 'declined', 'not_found', 'reversed', 'reversal_refused'] as const;
export type ProvenOutcome = (typeof provenOutcomes)[number];

export interface SettleByProofCommand {
  readonly merchantId: string;
  readonly orderId: string;
  readonly by: string;
  readonly outcome: ProvenOutcome;
  /** What the bank wrote: a reference, a line of its file, a letter's number. */
  readonly proof: string;
}

/** Rejects with `not_with_person`, or `proof_does_not_fit` where the order's state does not allow that outcome. */
export async function settleByProof(core: PaymentsCore, command: SettleByProofCommand): Promise<void> {
  const { merchantId, orderId, by, outcome, proof } = command;
  const open = await openCaseOf(core.knex, merchantId, orderId);
  if (open === undefined) throw notWithPerson(orderId);
  const place = { merchantId, orderId, attemptNo: open.attempt_no };
  const closing = { closedBy: by, action: `proved_${outcome}`, proof };
  if (outcome === 'reversal_refused' && open.order_status === 'reversal_refused') {
    // The bank has refused already and the order is final: the person confirms it, and only the case ends.
    if (!(await closeCase(core.knex, place, closing))) throw notWithPerson(orderId);
    return;
  }
  const effect = await learnOutside(core, place, (row) => provenLesson(row, outcome, open), closing);
  if (effect.kind === 'moved') return;
  throw new Problem('proof_does_not_fit', `An order that is ${open.order_status} cannot be settled as ${outcome}.`, {
    orderId: publicId('ord', orderId),
    errors: [{ pointer: '/outcome', detail: `does not fit an order that is ${open.order_status}` }],
  });
}

/** `reversing`: it reaches no bank, and a person has the bank's word another way. */
const settled: readonly AttemptState[] = ['needs_person', 'reversal_refused', 'reversing'];

/** The attempt is still as the case has it. An approval that is proved after approve_until, as nearly all are, is given back like any late one. */
function provenLesson(row: MovableRow, outcome: ProvenOutcome, open: PersonCase): Lesson {
  if (row.state !== open.attempt_state || !settled.includes(row.state)) throw notWithPerson(row.order_id);
  const told = lesson(factsOfRow(row), outcome, 'proved_by_person', null);
  switch (outcome) {
    case 'approved':
      return {
        ...told,
        approvedAmount: row.amount,
        answerAsLearnt: answerJson(factsOfRow(row), 'approved', { approvedAmount: row.amount }),
      };
    case 'declined':
      return {
        ...told,
        declineCode: 'declined',
        answerAsLearnt: answerJson(factsOfRow(row), 'declined', { declineCode: 'declined' }),
      };
    case 'not_found':
    case 'reversed':
    case 'reversal_refused':
      return told;
  }
}
