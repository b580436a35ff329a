// One desk of a bank says what another denies. "Never heard of it" ends nothing that the bank has answered before, were it with
// another amount: the charge may well stand.
import { uuidv7 } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { openCases } from '../src/payments/persons.sql.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { MERCHANT, openTestPayments, type TestPayments } from './support/open-payments.ts';

const LONG_MS = 600_000;
let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'contradictions' });
});
afterAll(() => t.close());
beforeEach(() => t.heal('bank_a'));

const at = (operation: string, behaviour: string) => ({ operation, behaviour });
const oddKinds = async (order: string) =>
  (await t.knex.raw('select kind from odd_answer where order_id = ?', [order])).rows.map(
    (row: { kind: string }) => row.kind,
  );

/** Looked at time and again, after every horizon. */
async function endsAs(order: string, status: string, state: string): Promise<void> {
  await t.age(order, LONG_MS);
  await waitFor(`${order} ${status}/${state}`, async () => {
    await t.knex.raw('update orders set lease_until = now() where order_id = ? and work is not null', [order]);
    await runOnce(t.core);
    return (await t.attempts(order))[0]?.['state'] === state;
  });
  expect(await t.order(order)).toMatchObject({ status });
}

test.each(['wrong_amount', 'wrong_currency'])(
  'a charge answered with a %s, of which no desk knows afterwards, goes to a person',
  async (behaviour) => {
    const rules = [at('charge', behaviour), at('inquiry', 'not_found'), at('reversal', 'not_found')];
    await t.script('bank_a', { rules });
    const { order } = await t.pay();
    await waitFor('its trace', async () => (await oddKinds(order)).length > 0);
    await endsAs(order, 'reversing', 'needs_person');
    expect((await openCases(t.knex, 100)).find((one) => one.order_id === order)).toMatchObject({
      reason: 'reversal_not_found_after_odd_answer',
      evidence: { httpStatus: 404 },
    });
  },
);

test('it is given back where the desk for reversals knows of it', async () => {
  await t.script('bank_a', { rules: [at('charge', 'wrong_amount'), at('inquiry', 'not_found')] });
  const { order } = await t.pay();
  await waitFor('its trace', async () => (await oddKinds(order)).length > 0);
  await endsAs(order, 'reversed', 'reversed');
});

test.each([
  ['of another reference', 'mismatch_reference', 1],
  ['to another attempt', 'mismatch_amount', 2],
])('an answer %s says nothing of this charge', async (_which, kind, attempt) => {
  await t.script('bank_a', { rules: [at('charge', 'timeout_before_accepting')] });
  const { order } = await t.pay();
  await t.knex.raw(
    `insert into odd_answer (merchant_id, odd_id, order_id, attempt_no, channel, operation, kind, effect, bank_reference)
     values (?, ?, ?, ?, 'bank_a', 'pay', ?, 'none', '')`,
    [MERCHANT, uuidv7(Date.now()), order, attempt, kind],
  );
  await endsAs(order, 'not_completed', 'not_found');
});
