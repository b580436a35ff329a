// Something learnt outside the lease of a sender or resolver: from a late or stale answer, from a person with proof, later
// from a bank's file. Decided from the row as it was read, and made only if the row is still the same; else looked at again.
import type { PaymentsCore } from './core.ts';
import type { Lesson } from './learnt.ts';
import { type DecidedMove, findMovable, type MovableRow, makeMove } from './moves.sql.ts';
import { attemptMoves, isOpen, keepsApproval, looseMoveOf, type Move, moveOf, orderMoves, workOf } from './payment.ts';

/** Who ends a case by it, how, and on what proof. */
export interface Closing {
  readonly closedBy: string;
  readonly action: string;
  readonly proof: string | null;
}

export interface Place {
  readonly merchantId: string;
  readonly orderId: string;
  readonly attemptNo: number;
}

export type Effect =
  | { readonly kind: 'moved'; readonly from: string; readonly to: string }
  /** The row shows it already. */
  | { readonly kind: 'known'; readonly row: MovableRow }
  /** It changes nothing: the tables of moves do not allow it. */
  | { readonly kind: 'none'; readonly row: MovableRow }
  | { readonly kind: 'unknown_order' };

/** The row can move between our look and our statement, but only forward. */
const TRIES = 10;

export async function learnOutside(
  core: PaymentsCore,
  place: Place,
  lessonFor: (row: MovableRow) => Lesson,
  closing: Closing | null,
): Promise<Effect> {
  for (let tries = 1; tries <= TRIES; tries++) {
    const row = await findMovable(core.knex, place.merchantId, place.orderId, place.attemptNo);
    if (row === undefined) return { kind: 'unknown_order' };
    const lesson = lessonFor(row);
    if (isKnown(row, lesson)) return { kind: 'known', row };
    const move = decide(row, place.attemptNo, lesson);
    if (move === null) return { kind: 'none', row };
    if (await makeMove(core.knex, decided(row, place.attemptNo, move, lesson, closing))) {
      return { kind: 'moved', from: `${row.status}/${row.state}`, to: `${move.order}/${move.attempt}` };
    }
  }
  throw new Error(`order ${place.orderId} did not stand still for ${TRIES} looks`);
}

/** The very approval that was learnt before, whatever became of it since; or a decline once more. */
function isKnown(row: MovableRow, { learning, rrn }: Lesson): boolean {
  if (learning === 'approved') return rrn !== null && rrn === row.rrn;
  return learning === 'declined' && row.state === 'declined';
}

function decide(row: MovableRow, attemptNo: number, lesson: Lesson): Move | null {
  const move = moveBy(row, attemptNo, lesson);
  // A person's proof has no number of the bank's: it moves something, or it does not fit.
  const surfaced = lesson.learning === 'approved' && lesson.rrn !== null && row.rrn === null;
  return move === null && surfaced && keepsApproval(row.state)
    ? { order: row.status, attempt: row.state, answer: null }
    : move;
}

function moveBy(row: MovableRow, attemptNo: number, { learning, approvedAmount }: Lesson): Move | null {
  if (isOpen(row.status) && row.attempt_no === attemptNo) {
    return moveOf(learning, {
      status: row.status,
      voidRequested: row.void_requested,
      late: row.late,
      otherAmount: approvedAmount !== row.amount,
    });
  }
  // Every attempt before the last is `not_sent` and moves no more: what moves alone is the last one.
  const attempt = looseMoveOf(learning, row.state);
  return attempt === null ? null : { order: row.status, attempt, answer: null };
}

/** The move as its statement needs it; throws when a table of moves does not have it. */
export function decided(
  row: Pick<MovableRow, 'merchant_id' | 'order_id' | 'version' | 'status' | 'state'>,
  attemptNo: number,
  move: Move,
  lesson: Lesson,
  closing: Closing | null,
  lease: { readonly leaseOwner: string; readonly leaseEpoch: number } | null = null,
): DecidedMove {
  if (move.order !== row.status && !orderMoves[row.status].includes(move.order))
    throw new Error(`BUG: order ${row.order_id} may not move from ${row.status} to ${move.order}`);
  if (move.attempt !== row.state && !attemptMoves[row.state].includes(move.attempt))
    throw new Error(`BUG: attempt of ${row.order_id} may not move from ${row.state} to ${move.attempt}`);
  return {
    merchantId: row.merchant_id,
    orderId: row.order_id,
    version: row.version,
    leaseOwner: lease?.leaseOwner ?? null,
    leaseEpoch: lease?.leaseEpoch ?? null,
    order: move.order,
    eventType: move.order === row.status ? 'attempt_changed' : move.order,
    attemptNo,
    attempt: move.attempt,
    opensCase: move.attempt === 'needs_person' && row.state !== 'needs_person',
    work: workOf(move.attempt),
    answer: answerFor(move, lesson),
    answerStatus: move.answer,
    approvedAmount: lesson.approvedAmount,
    declineCode: move.order === row.status ? null : lesson.declineCode,
    rrn: lesson.rrn,
    authorizationCode: lesson.authorizationCode,
    bankCode: lesson.bankCode,
    reason: lesson.reason,
    evidence: lesson.evidence,
    closedBy: closing?.closedBy ?? null,
    action: closing?.action ?? null,
    proof: closing?.proof ?? null,
  };
}

function answerFor(move: Move, lesson: Lesson): string | null {
  switch (move.answer) {
    case null:
      return null;
    case 'approved':
    case 'declined':
      return lesson.answerAsLearnt;
    case 'not_completed':
      return lesson.answerNotCompleted;
    case 'cancelled':
      return lesson.answerCancelled;
  }
}
