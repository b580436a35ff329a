// In doubt is never guessed: it ends by the bank's answer, an inquiry or an acknowledged reversal, or it goes to a person.
import { openDatabase } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import { defaultRules } from '@ballast/resilience';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openCases } from '../src/payments/persons.sql.ts';
import { settleByProof } from '../src/payments/settle-by-proof.ts';
import { tryAgain } from '../src/payments/try-again.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { MERCHANT, openTestPayments, quickResolving, type TestPayments, terminal } from './support/open-payments.ts';

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

describe('a bank that cannot be reached', () => {
  /** Nobody listens there: connections are refused, nothing is sent. */
  const away = async () => t.instance('test-away', { channels: t.channelsTo({ bank_a: 'http://127.0.0.1:9' }) });

  test('leaves an order in doubt until approve_until, and no try counts', async () => {
    const order = await inDoubt(charge('timeout_after_accepting'));
    await t.knex.raw("update orders set lease_until = now() - interval '1 ms' where order_id = ?", [order]);
    await runOnce(await away());
    expect((await t.order(order))['status']).toBe('in_doubt');
    expect((await t.attempts(order))[0]).toMatchObject({ state: 'in_doubt', tries: 0 });
  });

  test('holds up no order beyond approve_until: it is reversed as soon as somebody is there', async () => {
    const order = await inDoubt(charge('timeout_after_accepting'));
    await t.age(order, LONG_MS);
    await runOnce(await away());
    expect(await t.order(order)).toMatchObject({ status: 'reversing', answer_status: 'not_completed' });
    await resolvesTo(order, 'reversed', 'reversed');
    expect(await t.events(order)).toEqual(['accepted', 'in_doubt', 'reversing', 'reversed']);
  });
});

test('a merchant that has used up its quota holds up no other', async () => {
  const quota = { mode: 'enforce', scope: 'instance', perSecond: 0.001, burst: 1 } as const;
  const core = await t.instance('test-quota', {
    channels: t.channelsTo({}, { ...defaultRules, quota }),
    resolving: { ...quickResolving, atOnce: 1 },
  });
  const other = { ...terminal, merchantId: '019a0000-0000-7000-8000-00000000000c' };
  await t.script('bank_a', { rules: [charge('timeout_after_accepting')] });
  const orders = [
    await t.pay(),
    await t.pay(),
    await t.pay(t.command({}, { terminal: other, merchant: { ...t.command().merchant, ...other } })),
  ];
  for (const [place, { order }] of orders.entries())
    await t.knex.raw(
      "update orders set lease_until = now() - interval '1 hour' + ? * interval '1 min' where order_id = ?",
      [place, order],
    );
  await runOnce(core);
  const statuses = await Promise.all(orders.map(async ({ order }) => (await t.order(order))['status']));
  expect(statuses).toEqual(['approved', 'in_doubt', 'approved']);
});

test('an empty pool of the terminals does not keep the resolver from its work', async () => {
  const resolverKnex = openDatabase({ url: t.databaseUrl, applicationName: 'test resolver', poolMax: 2 });
  const core = await t.instance('test-pool', { resolverKnex });
  const order = await inDoubt(charge('timeout_after_accepting'));
  await resolverKnex.raw("update orders set lease_until = now() - interval '1 ms' where order_id = ?", [order]);
  const storm = await Promise.all(Array.from({ length: 8 }, () => t.knex.transaction()));
  try {
    await runOnce(core);
    const { rows } = await resolverKnex.raw('select status from orders where order_id = ?', [order]);
    expect(rows).toEqual([{ status: 'approved' }]);
  } finally {
    await Promise.all(storm.map((trx) => trx.rollback()));
    await resolverKnex.destroy();
  }
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

  test('that the bank refuses is listed with a person until it is seen; nothing else can be done about it', async () => {
    const order = await inDoubt(charge('timeout_after_accepting'), reversal('reversal_refused'));
    await t.age(order, LONG_MS);
    await resolvesTo(order, 'reversal_refused', 'reversal_refused');
    const listed = async () => (await openCases(t.knex, 100)).filter((one) => one.order_id === order);
    expect(await listed()).toMatchObject([{ reason: 'bank_refused_reversal', order_status: 'reversal_refused' }]);
    expect((await listed())[0]?.evidence).not.toBeNull();
    const seen = { merchantId: MERCHANT, orderId: order, by: 'anna', proof: 'told the merchant' };
    await expect(tryAgain(t.core, seen)).rejects.toMatchObject({ code: 'not_with_person' });
    await expect(settleByProof(t.core, { ...seen, outcome: 'reversed' })).rejects.toMatchObject({
      code: 'proof_does_not_fit',
    });
    await settleByProof(t.core, { ...seen, outcome: 'reversal_refused' });
    expect(await listed()).toEqual([]);
    expect(await t.order(order)).toMatchObject({ status: 'reversal_refused', version: 4 });
    await expect(settleByProof(t.core, { ...seen, outcome: 'reversal_refused' })).rejects.toMatchObject({
      code: 'not_with_person',
    });
  });

  test('that the bank "never heard of" after it approved the charge is repeated: its own approval stands against it', async () => {
    const paid = await t.pay();
    const { batch_number, trace_number } = (await t.order(paid.order)) as {
      batch_number: string;
      trace_number: string;
    };
    await t.script('bank_a', { rules: [{ ...reversal('not_found'), times: 1 }] });
    await t.cancel({ batch_number, trace_number });
    await t.age(paid.order, LONG_MS);
    await runOnce(t.core);
    expect((await t.order(paid.order))['status']).toBe('reversing');
    await resolvesTo(paid.order, 'reversed', 'reversed');
    expect((await booksOf(paid.order)).map(({ kind }) => kind)).toEqual(['charge', 'reversal']);
  });

  test('is not sent by a resolver that was held up for longer than its call may last', async () => {
    const resolving = { ...quickResolving, callMs: 100, leaseMarginMs: 5_000 };
    const slow = await t.instance('test-held-up', { resolving });
    const paid = await t.pay();
    const { batch_number, trace_number } = (await t.order(paid.order)) as {
      batch_number: string;
      trace_number: string;
    };
    await t.cancel({ batch_number, trace_number });
    const locked = await t.knex.transaction();
    await locked.raw('select 1 from orders where order_id = ? for update', [paid.order]);
    const resolved = runOnce(slow);
    await waitFor('the lease waits for the row', async () => {
      const { rows } = await t.knex.raw(
        "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%set lease_owner%'",
      );
      return rows.length > 0;
    });
    const from = performance.now();
    await waitFor('the time of the call', () => performance.now() - from > resolving.callMs);
    await locked.rollback();
    await resolved;
    expect((await booksOf(paid.order)).map(({ kind }) => kind)).toEqual(['charge']);
    await resolvesTo(paid.order, 'reversed', 'reversed');
  });

  test('that it never hears of, although it approved, goes to a person', async () => {
    const paid = await t.pay();
    const { batch_number, trace_number } = (await t.order(paid.order)) as {
      batch_number: string;
      trace_number: string;
    };
    await t.script('bank_a', { rules: [reversal('not_found')] });
    await t.cancel({ batch_number, trace_number });
    await t.age(paid.order, LONG_MS);
    await resolvesTo(paid.order, 'reversing', 'needs_person');
    expect((await openCases(t.knex, 100)).find((one) => one.order_id === paid.order)).toMatchObject({
      reason: 'reversal_not_found_after_approval',
      evidence: { httpStatus: 404 },
    });
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

  test('"try again" moves the attempt of the case, not whichever is the last', async () => {
    const order = await withPerson();
    await t.knex.raw(
      `insert into attempt (merchant_id, order_id, attempt_no, state, channel, bank_reference, bank_merchant_number,
         bank_terminal_number, amount, currency, livemode, last_send_at)
       select merchant_id, order_id, 2, 'not_sent', channel, bank_reference || '2', bank_merchant_number,
         bank_terminal_number, amount, currency, livemode, last_send_at from attempt where order_id = ?`,
      [order],
    );
    await t.knex.raw('update orders set attempt_no = 2 where order_id = ?', [order]);
    await tryAgain(t.core, { merchantId: MERCHANT, orderId: order, by: 'anna' });
    expect((await t.attempts(order)).map(({ state }) => state)).toEqual(['reversing', 'not_sent']);
    await t.knex.raw('update orders set work = null where order_id = ?', [order]);
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
