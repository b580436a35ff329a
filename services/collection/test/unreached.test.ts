// A reversal that cannot be sent: tried for as long as it takes, and after the stated time a person hears of it too.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PaymentsCore } from '../src/payments/core.ts';
import { openCaseOf, openCases } from '../src/payments/persons.sql.ts';
import { settleByProof } from '../src/payments/settle-by-proof.ts';
import { tryAgain } from '../src/payments/try-again.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { MERCHANT, openTestPayments, quickResolving, type TestPayments } from './support/open-payments.ts';

let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'unreached' });
});
afterAll(() => t.close());

/** Voided while nobody listens at its channel's address. */
async function unreached(): Promise<{ order: string; core: PaymentsCore; other: PaymentsCore }> {
  const paid = await t.pay();
  const { batch_number, trace_number } = (await t.order(paid.order)) as {
    batch_number: string;
    trace_number: string;
  };
  const resolving = { ...quickResolving, silenceBeforePersonMs: 60_000 };
  const core = await t.instance('cut-off', { channels: t.channelsTo({ bank_a: 'http://127.0.0.1:9' }), resolving });
  await t.cancel({ batch_number, trace_number });
  return { order: paid.order, core, other: t.core };
}
const caseOf = async (order: string) => (await openCases(t.knex, 100)).find((one) => one.order_id === order);
const look = async (core: PaymentsCore, order: string) => {
  await t.knex.raw("update orders set lease_until = now() - interval '1 ms' where order_id = ?", [order]);
  await runOnce(core);
};
/** Nothing was learnt for so long. */
const silentFor = (order: string, seconds: number) =>
  t.knex.raw(
    `alter table order_event disable trigger user; update order_event set occurred_at = now() - interval '${seconds} seconds'
     where order_id = '${order}'; alter table order_event enable trigger user`,
  );

test('a reversal that reaches no bank is listed with a person after the stated time, once, and tried on; the case ends when the bank is reached', async () => {
  const { order, core, other } = await unreached();
  await look(core, order);
  await look(core, order);
  expect(await caseOf(order)).toBeUndefined();
  await silentFor(order, 61);
  await look(core, order);
  await look(core, order);
  expect((await openCases(t.knex, 100)).filter((one) => one.order_id === order)).toMatchObject([
    {
      reason: 'bank_not_reached',
      attempt_state: 'reversing',
      evidence: { response: expect.stringMatching(/^not sent: /), httpStatus: null },
    },
  ]);
  expect(await t.order(order)).toMatchObject({ status: 'reversing', work: 'reverse' });
  await expect(tryAgain(core, { merchantId: MERCHANT, orderId: order, by: 'anna' })).rejects.toMatchObject({
    code: 'not_with_person',
  });
  await look(other, order);
  expect(await t.order(order)).toMatchObject({ status: 'reversed' });
  await runOnce(other);
  expect(await caseOf(order)).toBeUndefined();
  const { rows } = await t.knex.raw('select closed_by, action from person_case where order_id = ?', [order]);
  expect(rows).toEqual([{ closed_by: 'resolver', action: 'ended_by_itself' }]);
});

test('it ends by a person who has it in writing, and the resolver lets go', async () => {
  const { order, core } = await unreached();
  await silentFor(order, 61);
  await look(core, order);
  const settled = {
    merchantId: MERCHANT,
    orderId: order,
    by: 'anna',
    outcome: 'reversed',
    proof: 'letter 4711',
  } as const;
  await settleByProof(core, settled);
  expect(await t.order(order)).toMatchObject({ status: 'reversed', work: null });
  expect(await caseOf(order)).toBeUndefined();
});

test('the bank is reached, and refuses: both cases end with the person who has seen it, and the newer one is theirs', async () => {
  const { order, core, other } = await unreached();
  await silentFor(order, 61);
  await look(core, order);
  await t.script('bank_a', { rules: [{ behaviour: 'reversal_refused', operation: 'reversal' }] });
  await look(other, order);
  await t.heal('bank_a');
  const { rows } = await t.knex.raw(
    'select reason from person_case where order_id = ? and closed_at is null order by version desc',
    [order],
  );
  expect(rows).toEqual([{ reason: 'bank_refused_reversal' }, { reason: 'bank_not_reached' }]);
  expect(await openCaseOf(t.knex, MERCHANT, order)).toMatchObject({ reason: 'bank_refused_reversal' });
  const seen = { merchantId: MERCHANT, orderId: order, by: 'anna', proof: 'told the merchant' } as const;
  await settleByProof(other, { ...seen, outcome: 'reversal_refused' });
  expect(await caseOf(order)).toBeUndefined();
});
