// In doubt is never guessed: it ends by the bank's answer, an inquiry or an acknowledged reversal, or it goes to a person.
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openCases } from '../src/payments/persons.sql.ts';
import { settleByProof } from '../src/payments/settle-by-proof.ts';
import { tryAgain } from '../src/payments/try-again.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { MERCHANT, openTestPayments, type TestPayments } from './support/open-payments.ts';

/** Beyond every grace, window and horizon but the void's. */
const LONG_MS = 600_000;
let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'doubt', horizonMs: 30_000 });
});
afterAll(() => t.close());
beforeEach(() => t.heal('bank_a'));

const charge = (behaviour: string) => ({ behaviour, operation: 'charge' });
const inquiry = (behaviour: string) => ({ behaviour, operation: 'inquiry' });
const reversal = (behaviour: string) => ({ behaviour, operation: 'reversal' });

async function inDoubt(...rules: object[]): Promise<string> {
  await t.script('bank_a', { rules });
  const told = await t.pay();
  expect(told).toMatchObject({ status: 202, json: { status: 'in_doubt' }, final: false });
  return told.order;
}

/** Looks until the order is as expected; each look is made due at once. */
async function resolvesTo(order: string, status: string, state: string): Promise<void> {
  await waitFor(`${order} ${status}/${state}`, async () => {
    await t.knex.raw(
      "update orders set lease_until = now() - interval '1 ms' where order_id = ? and work is not null",
      [order],
    );
    await runOnce(t.core);
    const [attempt] = (await t.attempts(order)).slice(-1);
    return (await t.order(order))['status'] === status && attempt?.['state'] === state;
  });
}

const booksOf = async (order: string) => {
  const references = (await t.attempts(order)).map((attempt) => attempt['bank_reference']);
  return t.books().filter(({ reference }) => references.includes(reference));
};

describe('an order in doubt', () => {
  test.each([
    'timeout_after_accepting',
    'error_after_accepting',
    'reset_after_accepting',
    'reset_in_answer',
    'truncated',
  ])('by %s becomes approved by an inquiry before approve_until, once', async (behaviour) => {
    const order = await inDoubt(charge(behaviour));
    await resolvesTo(order, 'approved', 'approved');
    expect(await t.events(order)).toEqual(['accepted', 'in_doubt', 'approved']);
    expect(await booksOf(order)).toHaveLength(1);
  });

  test.each(['wrong_amount', 'wrong_currency', 'wrong_reference', 'unknown_code'])(
    'by an answer with %s is asked about, and the odd answer is kept',
    async (behaviour) => {
      const order = await inDoubt(charge(behaviour));
      await resolvesTo(order, 'approved', 'approved');
      if (behaviour === 'unknown_code') return;
      await waitFor('the odd answer', async () => {
        const { rows } = await t.knex.raw('select kind, evidence from odd_answer where order_id = ?', [order]);
        return rows[0]?.kind.startsWith('mismatch_') && rows[0].evidence !== null;
      });
    },
  );

  test('stays in doubt while "not found" may still be followed by our request, and is not completed after the horizon', async () => {
    const order = await inDoubt(charge('timeout_before_accepting'));
    await t.knex.raw("update orders set lease_until = now() - interval '1 ms' where order_id = ?", [order]);
    await runOnce(t.core);
    expect((await t.order(order))['status']).toBe('in_doubt');
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'not_completed', 'not_found');
    expect(await booksOf(order)).toEqual([]);
  });

  test('approved only after approve_until is reversed, never revived', async () => {
    const order = await inDoubt(charge('timeout_after_accepting'));
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversed', 'reversed');
    expect(await t.order(order)).toMatchObject({ answer_status: 'not_completed' });
    expect((await booksOf(order)).map(({ kind, result }) => `${kind} ${result}`)).toEqual([
      'charge approved',
      'reversal reversed',
    ]);
  });

  test('whose inquiries say nothing clear after approve_until is reversed', async () => {
    const order = await inDoubt(charge('timeout_after_accepting'), inquiry('server_error'));
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversed', 'reversed');
    expect(await t.events(order)).toEqual(['accepted', 'in_doubt', 'reversing', 'reversed']);
  });

  test('whose customer must confirm is asked about until approve_until, then taken back', async () => {
    const order = await inDoubt(charge('pending'));
    await runOnce(t.core);
    expect(await t.order(order)).toMatchObject({ status: 'in_doubt', reason: 'customer_must_confirm' });
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversed', 'reversed');
  });

  test('by a partial approval is given back at once and told as not completed', async () => {
    await t.script('bank_a', { rules: [charge('partial_approval')] });
    const told = await t.pay();
    expect(told).toMatchObject({ status: 201, json: { status: 'not_completed' } });
    await resolvesTo(told.order, 'reversed', 'reversed');
    expect(await t.order(told.order)).toMatchObject({ approved_amount: 625n });
  });

  test('that a bank approved for more than was asked is never approved', async () => {
    const order = await inDoubt(charge('wrong_amount'), inquiry('wrong_amount'));
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversed', 'reversed');
  });
});

describe('a payment whose process died between the commits', () => {
  test('is taken over after its lease and answered by the bank', async () => {
    const paid = await t.pay();
    // The row as commit 1 left it: the bank has the charge, nobody learnt it.
    await t.knex.raw(
      `update orders set status = 'processing', version = 1, answer = null, answer_status = null, approved_amount = null,
         work = 'inquire', lease_until = now() - interval '1 ms' where order_id = ?`,
      [paid.order],
    );
    await t.knex.raw("update attempt set state = 'sent' where order_id = ?", [paid.order]);
    await t.knex.raw('alter table order_event disable trigger order_event_append_only');
    await t.knex.raw('delete from order_event where order_id = ? and version > 1', [paid.order]);
    await t.knex.raw('alter table order_event enable trigger order_event_append_only');
    await resolvesTo(paid.order, 'approved', 'approved');
    expect(await booksOf(paid.order)).toHaveLength(1);
  });
});

describe('a reversal', () => {
  test('that is not answered is repeated with its mark until it is acknowledged, and booked once', async () => {
    const order = await inDoubt(charge('timeout_after_accepting'), { ...reversal('reversal_unanswered'), times: 2 });
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversed', 'reversed');
    expect((await booksOf(order)).filter(({ kind }) => kind === 'reversal')).toHaveLength(1);
    expect((await t.attempts(order))[0]).toMatchObject({ tries: 3 });
  });

  test('that the bank refuses leaves the charge captured and the order reversal_refused', async () => {
    const order = await inDoubt(charge('timeout_after_accepting'), reversal('reversal_refused'));
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversal_refused', 'reversal_refused');
    expect(await t.order(order)).toMatchObject({ answer_status: 'not_completed', work: null });
  });

  test('of what the bank never heard of is final only after the horizon', async () => {
    const order = await inDoubt(charge('timeout_before_accepting'));
    const { batch_number, trace_number } = (await t.order(order)) as { batch_number: string; trace_number: string };
    await t.cancel({ batch_number, trace_number });
    await runOnce(t.core);
    expect((await t.order(order))['status']).toBe('reversing');
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversed', 'reversed');
  });
});

describe('what exhausts its tries', () => {
  async function withPerson(): Promise<string> {
    const order = await inDoubt(charge('timeout_after_accepting'), reversal('server_error'));
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversing', 'needs_person');
    return order;
  }
  const caseOf = async (order: string) => (await openCases(t.knex, 100)).find((one) => one.order_id === order);

  test('goes to a person with its evidence, and the resolver leaves it alone', async () => {
    const order = await withPerson();
    expect(await caseOf(order)).toMatchObject({
      reason: 'reversal_http_500',
      order_status: 'reversing',
      amount: 1_250n,
    });
    expect((await caseOf(order))?.evidence).not.toBeNull();
    expect(await t.order(order)).toMatchObject({ work: null });
  });

  test('is reversed after all when the person says "try again" and the bank is well', async () => {
    const order = await withPerson();
    await t.heal('bank_a');
    await tryAgain(t.core, { merchantId: MERCHANT, orderId: order, by: 'anna' });
    expect(await caseOf(order)).toBeUndefined();
    await resolvesTo(order, 'reversed', 'reversed');
    await expect(tryAgain(t.core, { merchantId: MERCHANT, orderId: order, by: 'anna' })).rejects.toMatchObject({
      code: 'not_with_person',
    });
  });

  test.each([
    ['reversed', 'reversed'],
    ['not_found', 'reversed'],
    ['reversal_refused', 'reversal_refused'],
  ] as const)('is settled as %s by proof, and the order is %s', async (outcome, status) => {
    const order = await withPerson();
    await settleByProof(t.core, { merchantId: MERCHANT, orderId: order, by: 'anna', outcome, proof: 'letter 12' });
    expect(await t.order(order)).toMatchObject({ status, work: null });
    const { rows } = await t.knex.raw('select closed_by, action, proof from person_case where order_id = ?', [order]);
    expect(rows).toEqual([{ closed_by: 'anna', action: `proved_${outcome}`, proof: 'letter 12' }]);
  });

  test.each(['approved', 'declined'] as const)('is not settled as %s while it is being reversed', async (outcome) => {
    const order = await withPerson();
    await expect(
      settleByProof(t.core, { merchantId: MERCHANT, orderId: order, by: 'anna', outcome, proof: 'x' }),
    ).rejects.toMatchObject({ code: 'proof_does_not_fit' });
  });

  test('two people at once: one of them is told that it is done', async () => {
    const order = await withPerson();
    const both = await Promise.allSettled([
      tryAgain(t.core, { merchantId: MERCHANT, orderId: order, by: 'anna' }),
      settleByProof(t.core, { merchantId: MERCHANT, orderId: order, by: 'ben', outcome: 'reversed', proof: 'x' }),
    ]);
    expect(both.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect((await t.events(order)).filter((type) => type === 'attempt_changed' || type === 'reversed')).toHaveLength(2);
  });
});
