// Another key, but the same card, amount and terminal a moment later: asked back before anything is stored.
import { publicId } from '@ballast/contracts';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { openTestPayments, type TestPayments } from './support/open-payments.ts';

const WINDOW_MS = 60_000;
let t: TestPayments;
let amount = 5_000n;

beforeAll(async () => {
  t = await openTestPayments({ label: 'duplicates', core: { duplicateWindowMs: WINDOW_MS } });
});
afterAll(() => t.close());
beforeEach(async () => {
  amount++;
  await t.heal('bank_a');
});

const stored = async () => (await t.knex.raw('select count(*)::int as n from payment_key')).rows[0].n;

test('is refused naming the other order, stores nothing and uses up no key', async () => {
  const first = await t.pay(t.command({ amount }));
  const second = t.command({ amount });
  const before = await stored();
  const like = publicId('ord', first.order);
  await expect(t.pay(second)).rejects.toMatchObject({ code: 'suspected_duplicate', orderId: like });
  expect(await stored()).toBe(before);
  const confirmed = await t.pay({ ...second, request: { ...second.request, confirm_duplicate_of: like } });
  expect(confirmed.json).toMatchObject({ status: 'approved' });
  // Sameness ignores the confirmation: the request without it is the same one now.
  expect((await t.pay(second)).body).toBe(confirmed.body);
});

test('a confirmation that names another order confirms nothing', async () => {
  const other = await t.pay(t.command({ amount }));
  amount++;
  await t.pay(t.command({ amount }));
  const wrong = t.command({ amount, confirm_duplicate_of: publicId('ord', other.order) });
  await expect(t.pay(wrong)).rejects.toMatchObject({ code: 'suspected_duplicate' });
});

test('the same request again is a replay, never a suspect, also beside a confirmed twin', async () => {
  const first = t.command({ amount });
  const told = await t.pay(first);
  await t.pay(t.command({ amount, confirm_duplicate_of: publicId('ord', told.order) }));
  expect((await t.pay(first)).body).toBe(told.body);
});

test.each([
  ['another amount', { amount: 77n }],
  [
    'another card',
    {
      payment_method: {
        type: 'card',
        number: '4000056655665556',
        expiry_month: 1,
        expiry_year: 2030,
        entry_mode: 'chip',
      },
    } as const,
  ],
])('%s is not suspected', async (_name, change) => {
  await t.pay(t.command({ amount }));
  expect((await t.pay(t.command({ amount, ...change }))).json).toMatchObject({ status: 'approved' });
});

test('after a decline the same card may be tried again', async () => {
  const number = '4000000000000002';
  const declined = { type: 'card', number, expiry_month: 1, expiry_year: 2030, entry_mode: 'chip' } as const;
  await t.pay(t.command({ amount, payment_method: declined }));
  expect((await t.pay(t.command({ amount, payment_method: declined }))).json).toMatchObject({ status: 'declined' });
});

test('in doubt counts: that is when terminals try again under another key', async () => {
  await t.script('bank_a', { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }] });
  await t.pay(t.command({ amount }));
  await expect(t.pay(t.command({ amount }))).rejects.toMatchObject({ code: 'suspected_duplicate' });
});

test('after the window it is a payment like any other', async () => {
  const first = await t.pay(t.command({ amount }));
  await t.knex.raw("update payment_key set created_at = now() - ? * interval '1 ms' where order_id = ?", [
    WINDOW_MS + 1,
    first.order,
  ]);
  expect((await t.pay(t.command({ amount }))).json).toMatchObject({ status: 'approved' });
});
