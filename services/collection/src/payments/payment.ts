// The life of an order and of its attempts at a bank. Both tables of moves are data: the decisions below are held to
// them by tests, and the statements that carry a decision out assert it. Imports nothing that runs.
//
// An order is `processing` from commit 1 until its question is ended. It ends approved or declined by the bank's word;
// `not_completed` when provably nothing left for a bank, or the bank finally knows of nothing; `cancelled` when it was
// voided before anything was sent. Without a clear word it is `in_doubt`, and stays so until the bank says more. An
// approval that may no longer stand (voided, too late, partial) sends the order to `reversing`, which ends `reversed`
// or, where the bank keeps the charge, `reversal_refused`.
//
// An attempt moves with its order while the order is open. Afterwards it may move alone: an approval that surfaces on an
// order that does not stand on it is reversed, whatever the order's state, and the order stays where it is.
import type { FinalAnswer, OrderStatus } from '@ballast/contracts';

export const orderMoves: Readonly<Record<OrderStatus, readonly OrderStatus[]>> = {
  processing: ['approved', 'declined', 'in_doubt', 'not_completed', 'cancelled', 'reversing'],
  in_doubt: ['approved', 'declined', 'not_completed', 'reversing'],
  approved: ['reversing'],
  reversing: ['reversed', 'reversal_refused'],
  declined: [],
  not_completed: [],
  cancelled: [],
  reversed: [],
  reversal_refused: [],
};

export type AttemptState =
  | 'sent'
  | 'approved'
  | 'declined'
  | 'in_doubt'
  | 'not_sent'
  | 'not_found'
  | 'reversing'
  | 'reversed'
  | 'reversal_refused'
  | 'needs_person';

export const attemptMoves: Readonly<Record<AttemptState, readonly AttemptState[]>> = {
  sent: ['approved', 'declined', 'in_doubt', 'not_sent', 'reversing'],
  in_doubt: ['approved', 'declined', 'not_found', 'reversing', 'needs_person'],
  approved: ['reversing'],
  declined: ['reversing'],
  not_found: ['reversing'],
  reversing: ['reversed', 'reversal_refused', 'needs_person'],
  needs_person: ['approved', 'declined', 'not_found', 'reversing', 'reversed', 'reversal_refused'],
  reversed: ['reversing'],
  not_sent: [],
  reversal_refused: [],
};

/** What was learnt about an attempt: by the call itself, by the resolver, by a late answer, or from a person with proof. */
export const learnings = [
  'approved',
  'declined',
  'in_doubt',
  'not_sent',
  'not_found',
  'unwanted', // nobody waits for it any more, and inquiries say nothing clear: take it back
  'reversed',
  'reversal_refused',
] as const;
export type Learning = (typeof learnings)[number];

/** What the order's row says at the moment of the move, under its lock. */
export interface Standing {
  readonly status: OrderStatus;
  readonly voidRequested: boolean;
  /** The database's clock has passed approve_until: an approval may no longer be told. */
  readonly late: boolean;
  /** The bank approved less (or more) than the order's amount. */
  readonly otherAmount: boolean;
}

export interface Move {
  readonly order: OrderStatus;
  readonly attempt: AttemptState;
  /** What the terminal is told finally by this move; null: its question stays open, or was ended before. */
  readonly answer: FinalAnswer | null;
}

/**
 * The one decision: what a learning does to an order that is open. Null: it does nothing (already ended, or nothing new).
 * The statement `learn` in payments.sql.ts is the same decision under the row's lock; a test holds the two together.
 */
export function moveOf(learning: Learning, standing: Standing): Move | null {
  const { status, voidRequested, late, otherAmount } = standing;
  if (status === 'reversing') {
    if (learning === 'reversed' || learning === 'not_found')
      return { order: 'reversed', attempt: 'reversed', answer: null };
    if (learning === 'reversal_refused')
      return { order: 'reversal_refused', attempt: 'reversal_refused', answer: null };
    return null;
  }
  if (status !== 'processing' && status !== 'in_doubt') return null;
  switch (learning) {
    case 'approved':
      return voidRequested || late || otherAmount
        ? { order: 'reversing', attempt: 'reversing', answer: 'not_completed' }
        : { order: 'approved', attempt: 'approved', answer: 'approved' };
    case 'declined':
      return { order: 'declined', attempt: 'declined', answer: 'declined' };
    case 'in_doubt':
      if (status === 'in_doubt') return null;
      return voidRequested
        ? { order: 'reversing', attempt: 'reversing', answer: 'not_completed' }
        : { order: 'in_doubt', attempt: 'in_doubt', answer: null };
    case 'not_sent':
      if (status === 'in_doubt') return null;
      return voidRequested
        ? { order: 'cancelled', attempt: 'not_sent', answer: 'cancelled' }
        : { order: 'not_completed', attempt: 'not_sent', answer: 'not_completed' };
    case 'not_found':
      // Only after an inquiry, and the attempt was in doubt by then; final because the caller waited for the horizon.
      return status === 'in_doubt' ? { order: 'not_completed', attempt: 'not_found', answer: 'not_completed' } : null;
    case 'unwanted':
      return status === 'in_doubt' ? { order: 'reversing', attempt: 'reversing', answer: 'not_completed' } : null;
    case 'reversed':
    case 'reversal_refused':
      return null; // a reversal is sent only for an order that is reversing
  }
}

/**
 * What a learning does to an attempt whose order has ended and does not move any more. Null: nothing. A bank that refuses
 * to give back what the order does not stand on leaves it with a person: it never becomes captured.
 */
export function looseMoveOf(learning: Learning, state: AttemptState): AttemptState | null {
  switch (learning) {
    case 'approved':
      return state === 'declined' || state === 'not_found' || state === 'reversed' ? 'reversing' : null;
    case 'reversed':
    case 'not_found':
      return state === 'reversing' || state === 'needs_person' ? 'reversed' : null;
    case 'reversal_refused':
      return state === 'reversing' ? 'needs_person' : null;
    case 'declined':
    case 'in_doubt':
    case 'not_sent':
    case 'unwanted':
      return null;
  }
}

/**
 * An approval that surfaces while its attempt is being taken back, or is with a person, moves nothing; but it is kept with
 * the attempt. What the bank approved is undone by its acknowledgement, not by its "never heard of it".
 */
export function keepsApproval(state: AttemptState): boolean {
  return state === 'reversing' || state === 'needs_person';
}

/** True while the order itself may still move by what is learnt about its last attempt. */
export function isOpen(status: OrderStatus): boolean {
  return status === 'processing' || status === 'in_doubt' || status === 'reversing';
}

/** What the resolver has to do next for an attempt in this state; null: nothing. */
export function workOf(state: AttemptState): 'inquire' | 'reverse' | null {
  if (state === 'sent' || state === 'in_doubt') return 'inquire';
  return state === 'reversing' ? 'reverse' : null;
}
