// An answer that comes when nobody waits any more: in time it ends the doubt; too late it is reversed, whatever became of
// the order meanwhile. Each is kept, and none has an effect twice.
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { fromBankReference } from '../src/payments/bank-reference.ts';
import { takeLateAnswer } from '../src/payments/late-answer.ts';
import { openCases } from '../src/payments/persons.sql.ts';
import { tryAgain } from '../src/payments/try-again.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { MERCHANT, openTestPayments, type TestPayments } from './support/open-payments.ts';

const LONG_MS = 600_000;
const odd: string[] = [];
let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({
    label: 'late answers',
    timeoutMs: 150,
    core: { onOddAnswer: (channel, kind) => odd.push(`${channel} ${kind}`) },
  });
});
afterAll(() => t.close());
beforeEach(async () => {
  odd.length = 0;
  await t.heal('bank_a');
});

const late = { rules: [{ behaviour: 'late', operation: 'charge', delay_ms: 400 }] };
const oddAnswers = async (order: string) =>
  (await t.knex.raw('select kind, effect from odd_answer where order_id = ? order by received_at', [order])).rows;

const evidence = { request: '', response: '', httpStatus: 200 };

async function identityOf(order: string) {
  const [attempt] = await t.attempts(order);
  return {
    bankReference: String(attempt?.['bank_reference']),
    merchantNumber: 'M1',
    terminalNumber: 'T1',
    amount: 1_250n,
    currency: 'EUR',
    livemode: false,
  };
}

/** What the bank's late word about the order would be, as the adapter hands it on. */
async function sayLate(order: string, kind: 'approved' | 'declined', amount = 1_250n): Promise<void> {
  const identity = await identityOf(order);
  expect(fromBankReference(identity.bankReference)?.orderId).toBe(order);
  await takeLateAnswer(t.core, 'bank_a', {
    operation: 'pay',
    identity,
    consumer: MERCHANT,
    outcome:
      kind === 'approved'
        ? { kind, amount, rrn: '1', authorizationCode: '2', bankCode: '00', evidence }
        : { kind, declineCode: 'stolen', bankCode: '43', evidence },
  });
}

test('within approve_until it makes the order approved, before any inquiry', async () => {
  await t.script('bank_a', late);
  const told = await t.pay();
  expect(told.status).toBe(202);
  await waitFor('the late approval', async () => (await t.order(told.order))['status'] === 'approved');
  expect(await t.events(told.order)).toEqual(['accepted', 'in_doubt', 'approved']);
  await waitFor('its trace', async () => (await oddAnswers(told.order)).length === 1);
  expect(await oddAnswers(told.order)).toEqual([
    { kind: 'late_approved', effect: 'in_doubt/in_doubt → approved/approved' },
  ]);
  expect(odd).toEqual(['bank_a late_approved']);
});

test('after approve_until it never revives the order: the charge is reversed', async () => {
  await t.script('bank_a', late);
  const told = await t.pay();
  await t.age(told.order, LONG_MS);
  await waitFor('the late approval', async () => (await t.order(told.order))['status'] === 'reversing');
  await t.heal('bank_a');
  await waitFor('the reversal', async () => {
    await runOnce(t.core);
    return (await t.order(told.order))['status'] === 'reversed';
  });
  expect(await t.order(told.order)).toMatchObject({ answer_status: 'not_completed' });
});

test.each([
  ['declined', 'declined', 'declined'],
  ['not_completed', 'not_completed', 'not_found'],
  ['reversed', 'reversed', 'reversed'],
])(
  'an approval that surfaces on an order that is %s is reversed, and the order does not move',
  async (_name, status, state) => {
    const told = await t.pay();
    // The bank has the charge; our order ended otherwise, as if its answer had been another.
    await t.knex.raw('update orders set status = ?, answer_status = ?, work = null where order_id = ?', [
      status,
      status === 'declined' ? 'declined' : 'not_completed',
      told.order,
    ]);
    await t.knex.raw('update attempt set state = ? where order_id = ?', [state, told.order]);
    await sayLate(told.order, 'approved');
    expect(await t.order(told.order)).toMatchObject({ status, work: 'reverse' });
    expect((await t.attempts(told.order))[0]).toMatchObject({ state: 'reversing' });
    await waitFor('the reversal', async () => {
      await runOnce(t.core);
      return (await t.attempts(told.order))[0]?.['state'] === 'reversed';
    });
    expect(await t.order(told.order)).toMatchObject({ status, work: null });
    expect((await t.events(told.order)).slice(2)).toEqual(['attempt_changed', 'attempt_changed']);
    expect(
      t
        .books()
        .filter(({ kind, reference }) => kind === 'reversal' && fromBankReference(reference)?.orderId === told.order),
    ).toHaveLength(1);
  },
);

test('what the bank then refuses to give back stays with a person and is never captured', async () => {
  const told = await t.pay();
  await t.knex.raw(
    "update orders set status = 'declined', answer_status = 'declined', work = null where order_id = ?",
    [told.order],
  );
  await t.knex.raw("update attempt set state = 'declined' where order_id = ?", [told.order]);
  await t.script('bank_a', { rules: [{ behaviour: 'reversal_refused', operation: 'reversal' }] });
  await sayLate(told.order, 'approved');
  await runOnce(t.core);
  expect((await t.attempts(told.order))[0]).toMatchObject({ state: 'needs_person' });
  expect(await t.order(told.order)).toMatchObject({ status: 'declined', work: null, approved_amount: 1_250n });
});

test.each(['approved', 'declined'] as const)('the same word again (%s) is kept and does nothing', async (kind) => {
  const told = await t.pay();
  const before = await t.order(told.order);
  await sayLate(told.order, kind);
  expect(await t.order(told.order)).toEqual(before);
  await waitFor('its trace', async () => (await oddAnswers(told.order)).length === 1);
  expect((await oddAnswers(told.order))[0]).toEqual({ kind: `late_${kind}`, effect: 'none (approved/approved)' });
});

test('twenty copies of one late approval at once have one effect', async () => {
  await t.script('bank_a', { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }] });
  const told = await t.pay();
  await Promise.all(Array.from({ length: 20 }, () => sayLate(told.order, 'approved')));
  expect(await t.events(told.order)).toEqual(['accepted', 'in_doubt', 'approved']);
});

describe('an approval that surfaces while its attempt is being taken back', () => {
  const reversal = (behaviour: string) => ({ behaviour, operation: 'reversal' });
  const caseOf = async (order: string) => (await openCases(t.knex, 100)).filter((one) => one.order_id === order);

  /** In doubt and voided: nobody knows yet that the bank has approved it. */
  async function voidedInDoubt(...rules: object[]): Promise<string> {
    await t.script('bank_a', { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }, ...rules] });
    const command = t.command();
    const { order } = await t.pay(command);
    await t.cancel(command.request);
    expect(await t.order(order)).toMatchObject({ status: 'reversing' });
    return order;
  }

  async function endsWithPerson(order: string): Promise<void> {
    await t.age(order, LONG_MS);
    await waitFor('a person', async () => {
      await t.knex.raw('update orders set lease_until = now() where order_id = ? and work is not null', [order]);
      await runOnce(t.core);
      return (await t.attempts(order))[0]?.['state'] === 'needs_person';
    });
  }

  test('is kept: "never heard of it" does not end the reversal any more', async () => {
    const order = await voidedInDoubt(reversal('not_found'));
    await sayLate(order, 'approved');
    expect(await t.order(order)).toMatchObject({ status: 'reversing', work: 'reverse' });
    expect((await t.attempts(order))[0]).toMatchObject({ state: 'reversing', rrn: '1', approved_amount: 1_250n });
    expect(await t.events(order)).toEqual(['accepted', 'in_doubt', 'reversing', 'attempt_changed']);
    await endsWithPerson(order);
    expect(await caseOf(order)).toMatchObject([{ reason: 'reversal_not_found_after_approval' }]);
  });

  test('has no effect twice', async () => {
    const order = await voidedInDoubt();
    await Promise.all(Array.from({ length: 10 }, () => sayLate(order, 'approved')));
    expect(await t.events(order)).toEqual(['accepted', 'in_doubt', 'reversing', 'attempt_changed']);
    await waitFor('the reversal', async () => {
      await runOnce(t.core);
      return (await t.order(order))['status'] === 'reversed';
    });
    await sayLate(order, 'approved');
    expect(await t.order(order)).toMatchObject({ status: 'reversed', work: null });
  });

  test('of a part of the amount, which the bank then keeps, is what was captured', async () => {
    const order = await voidedInDoubt(reversal('reversal_refused'));
    await sayLate(order, 'approved', 625n);
    await runOnce(t.core);
    expect(await t.order(order)).toMatchObject({ status: 'reversal_refused', approved_amount: 625n });
  });

  test('is kept with a person too, beside the one case; and what is tried again carries the repeat mark', async () => {
    const order = await voidedInDoubt(reversal('server_error'));
    await endsWithPerson(order);
    await sayLate(order, 'approved');
    expect((await t.attempts(order))[0]).toMatchObject({ state: 'needs_person', rrn: '1' });
    expect(await t.order(order)).toMatchObject({ status: 'reversing', work: null });
    expect(await caseOf(order)).toHaveLength(1);
    await t.heal('bank_a');
    await tryAgain(t.core, { merchantId: MERCHANT, orderId: order, by: 'anna' });
    await runOnce(t.core);
    expect((await t.attempts(order))[0]).toMatchObject({
      state: 'reversed',
      evidence: { request: expect.stringContaining('"repeat":true') },
    });
  });
});

test('a late answer to a reversal is kept, and the reversal is repeated until it is acknowledged', async () => {
  const told = await t.pay();
  await takeLateAnswer(t.core, 'bank_a', {
    operation: 'reversal',
    identity: await identityOf(told.order),
    consumer: MERCHANT,
    outcome: { kind: 'reversed', already: false, evidence },
  });
  expect(await t.order(told.order)).toMatchObject({ status: 'approved' });
  await waitFor('its trace', async () => (await oddAnswers(told.order)).length === 1);
  expect(await oddAnswers(told.order)).toEqual([{ kind: 'late_reversed', effect: 'none' }]);
});
