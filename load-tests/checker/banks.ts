// Our rows held against the banks' own books: I-03, I-04, I-07, I-08, I-10.
import { approvedCharge, standingCharge } from './books.ts';
import type { CheckInput, Invariant } from './invariant.ts';
import type { AttemptRow, Story } from './story.ts';

/** I-03: every approval in the books belongs to an order that stands on it, or was given back, or is with a person. */
export function everyChargeHasItsOrder(): Invariant {
  return {
    id: 'I-03',
    says: "each approved charge in a bank's books belongs to exactly one order that stands on it, or is reversed",
    when: 'quiet',
    needs: 'books',
    each: (story, { books, input }, finding) => {
      for (const attempt of story.attempts) {
        const charge = standingCharge(books.find(attempt.channel, attempt.bank_reference));
        if (charge === undefined) continue;
        finding.evaluated();
        const { order } = story;
        const stands =
          (order?.status === 'approved' && attempt.state === 'approved') ||
          (order?.status === 'reversal_refused' && attempt.state === 'reversal_refused');
        // Less than the amount where the bank approved a part and would not give it back.
        const captured = order?.approved_amount ?? order?.amount;
        if (stands && charge.amount === captured && charge.currency === order?.currency) continue;
        if (attempt.with_person && expected(input, story, attempt)) continue;
        finding.violation(
          `${attempt.channel} ${attempt.bank_reference}: the bank keeps ${charge.amount} ${charge.currency}, ` +
            `order ${story.orderId} is ${order?.status} with ${order?.amount} ${order?.currency}, attempt ${attempt.state}`,
        );
      }
    },
    end: ({ books, references }, finding) => {
      for (const booked of books.all()) {
        if (references.has(`${booked.bank}/${booked.reference}`) || approvedCharge(booked) === undefined) continue;
        finding.evaluated();
        if (standingCharge(booked) !== undefined)
          finding.violation(`${booked.bank} ${booked.reference}: a standing charge that no attempt of ours explains`);
      }
    },
  };
}

/** What the books must show for an attempt in each final state; null: it agrees. */
const agrees: Readonly<Record<string, (charge: { standing: boolean; known: boolean }) => boolean>> = {
  approved: ({ standing }) => standing,
  declined: ({ standing }) => !standing,
  not_sent: ({ known }) => !known,
  not_found: ({ standing }) => !standing,
  reversed: ({ standing }) => !standing,
  reversal_refused: ({ standing }) => standing,
  needs_person: () => true,
};

/** I-04: nothing stays open; each attempt agrees with the books; what is with a person is expected and has evidence. */
export function everyAttemptEnds(): Invariant {
  return {
    id: 'I-04',
    says: "no attempt stays open, each agrees with the bank's books, persons are expected and have evidence",
    when: 'quiet',
    needs: 'books',
    each: (story, { books, input }, finding) => {
      const withPerson = story.attempts.some((attempt) => attempt.with_person);
      if (story.order !== null && OPEN_ORDERS.has(story.order.status) && !withPerson)
        finding.violation(`order ${story.orderId} is still ${story.order.status}`);
      for (const attempt of story.attempts) {
        finding.evaluated();
        const name = `order ${story.orderId} attempt ${attempt.attempt_no}`;
        const booked = books.find(attempt.channel, attempt.bank_reference);
        const facts = {
          known: booked !== undefined && booked.charges.length > 0,
          standing: standingCharge(booked) !== undefined,
        };
        const agree = agrees[attempt.state];
        if (agree === undefined) finding.violation(`${name} is still ${attempt.state}`);
        else if (!agree(facts))
          finding.violation(`${name} is ${attempt.state}; in the books: ${JSON.stringify(facts)}`);
        if (attempt.state === 'needs_person' && !attempt.with_person)
          finding.violation(`${name} needs a person and is not listed with one`);
        if (!attempt.with_person) continue;
        if (!attempt.case_has_evidence) finding.violation(`${name} is with a person without evidence`);
        if (!expected(input, story, attempt)) finding.violation(`${name} is with a person, which nobody expected`);
      }
    },
  };
}

const OPEN_ORDERS = new Set(['processing', 'in_doubt', 'reversing']);

function expected(input: CheckInput, story: Story, attempt: AttemptRow): boolean {
  const { channel, bank_reference: bankReference } = attempt;
  return input.expectsPerson?.({ orderId: story.orderId, channel, bankReference }) === true;
}

/** I-07: we say approved only where the bank's books say so, under the same reference, channel, amount and currency. */
export function approvedByTheBank(): Invariant {
  return {
    id: 'I-07',
    says: "an attempt is approved only if the bank's books hold that approval",
    when: 'always',
    needs: 'books',
    each: ({ order, orderId, attempts }, { books }, finding) => {
      const standing = attempts.filter((attempt) => attempt.state === 'approved');
      if (order?.status === 'approved' && standing.length === 0)
        finding.violation(`order ${orderId} is approved and none of its attempts is`);
      for (const attempt of standing) {
        finding.evaluated();
        const charge = approvedCharge(books.find(attempt.channel, attempt.bank_reference));
        const approved = attempt.approved_amount ?? attempt.amount;
        if (charge === undefined)
          finding.violation(
            `order ${orderId}: approved, ${attempt.channel} has no approval of ${attempt.bank_reference}`,
          );
        else if (charge.amount !== approved || charge.currency !== attempt.currency)
          finding.violation(
            `order ${orderId}: approved ${approved} ${attempt.currency}, the bank ${charge.amount} ${charge.currency}`,
          );
      }
    },
  };
}

/** I-08: at most one approval of an order stands; a bank was never asked to charge or give back twice. */
export function noDoubleCharge(): Invariant {
  return {
    id: 'I-08',
    says: "at most one un-reversed approval per order in the bank's books, never two that stand in ours",
    when: 'always',
    needs: 'books',
    each: ({ orderId, attempts }, { books, input }, finding) => {
      finding.evaluated();
      const ours = attempts.filter((attempt) => attempt.state === 'approved').length;
      if (ours > 1) finding.violation(`order ${orderId} stands on ${ours} approved attempts`);
      const booked = attempts.map((attempt) => books.find(attempt.channel, attempt.bank_reference));
      const standing = booked.filter((found) => standingCharge(found) !== undefined).length;
      if (input.quiet && standing > 1) finding.violation(`order ${orderId} is charged ${standing} times in the books`);
      for (const found of booked) {
        if (found === undefined) continue;
        const reversals = found.reversals.filter((entry) => entry.result === 'reversed').length;
        if (found.charges.length > 1) finding.violation(`${found.reference} is booked ${found.charges.length} times`);
        if (reversals > 1) finding.violation(`${found.reference} was given back ${reversals} times`);
      }
    },
  };
}

/** I-10: 0 ≤ refunded ≤ captured ≤ amount, from our rows and from the bank's. */
export function neverMoreThanCaptured(): Invariant {
  return {
    id: 'I-10',
    says: "0 ≤ refunded ≤ captured ≤ amount, from our rows and from the bank's",
    when: 'always',
    each: ({ order, attempts }, { books }, finding) => {
      if (order === null) return;
      finding.evaluated();
      const captures = ['approved', 'reversal_refused'].includes(order.status);
      const captured = captures ? (order.approved_amount ?? order.amount) : 0;
      if (captured < 0 || captured > order.amount)
        finding.violation(`order ${order.order_id} captured ${captured} of ${order.amount}`);
      for (const attempt of attempts) {
        const booked = books.find(attempt.channel, attempt.bank_reference);
        const charged = approvedCharge(booked)?.amount ?? 0;
        const refunded = (booked?.refunds ?? [])
          .filter((entry) => entry.result === 'approved')
          .reduce((sum, entry) => sum + entry.amount, 0);
        if (charged > attempt.amount)
          finding.violation(`${attempt.bank_reference}: the bank took ${charged} of ${attempt.amount}`);
        if (refunded > charged)
          finding.violation(`${attempt.bank_reference}: the bank gave back ${refunded} of ${charged}`);
      }
    },
  };
}
