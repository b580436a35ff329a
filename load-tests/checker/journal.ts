// The journal held against the stored state: I-14, I-20.
import { fold } from './fold.ts';
import type { Invariant } from './invariant.ts';
import type { OrderRow } from './story.ts';

/** Fields of an event's data that are columns of the order under the same name. */
// biome-ignore format: a list
const SHARED = [
  'merchant_id', 'terminal_id', 'livemode', 'status', 'version', 'amount', 'currency', 'approved_amount', 'method',
  'channel', 'batch_number', 'trace_number', 'merchant_reference', 'card_bin', 'card_last_four', 'decline_code',
  'business_date', 'accepted_at', 'approve_until', 'void_requested', 'window_closed',
] as const satisfies readonly (keyof OrderRow)[];

/** I-14: an order's events, folded through the checker's own state machine, give the stored state. */
export function eventsGiveTheState(): Invariant {
  return {
    id: 'I-14',
    says: "every order's events, folded by the checker's own state machine, give the stored state",
    when: 'always',
    each: ({ order, orderId, events, attempts }, _world, finding) => {
      finding.evaluated(events.length);
      const { state, faults } = fold(events);
      for (const fault of faults) finding.violation(`order ${orderId}: ${fault}`);
      if (order === null || state === null) {
        if (order !== null) finding.violation(`order ${orderId} has no event`);
        return;
      }
      for (const field of SHARED)
        if ((state.last[field] ?? null) !== order[field])
          finding.violation(`order ${orderId}: ${field} is ${order[field]}, its events say ${state.last[field]}`);
      if ((state.last['answer'] ?? null) !== order.answer_status)
        finding.violation(`order ${orderId}: answer is ${order.answer_status}, its events say ${state.last['answer']}`);
      for (const attempt of attempts) {
        const told = state.attempts.get(attempt.attempt_no);
        if (told !== attempt.state)
          finding.violation(
            `order ${orderId} attempt ${attempt.attempt_no} is ${attempt.state}, its events say ${told}`,
          );
      }
    },
  };
}

/** I-20: each order's events are 1..n without gap, and time does not run backwards among them. */
export function eventsAreGapless(): Invariant {
  return {
    id: 'I-20',
    says: "each order's events are 1..n without gap and in order, as many as the order's version says",
    when: 'always',
    each: ({ order, orderId, events }, _world, finding) => {
      finding.evaluated(events.length);
      events.forEach((event, index) => {
        if (event.version !== index + 1)
          finding.violation(`order ${orderId}: event ${index + 1} is missing (found version ${event.version})`);
        const before = events[index - 1];
        if (before !== undefined && event.occurred_ms < before.occurred_ms)
          finding.violation(`order ${orderId}: event ${event.version} is older than event ${before.version}`);
        if (before !== undefined && event.generation < before.generation)
          finding.violation(`order ${orderId}: event ${event.version} is of an older generation`);
      });
      if (order !== null && order.version !== events.length)
        finding.violation(`order ${orderId} is at version ${order.version} with ${events.length} events`);
    },
  };
}
