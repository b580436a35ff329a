// A request sent again: it gets what became of the first one, in time, and is never told that nothing was charged when
// something may have been.
import { Problem } from '@ballast/contracts';
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { MERCHANT, openTestPayments, routeTo, type TestPayments } from './support/open-payments.ts';
import { wrongVersions } from './support/versions.ts';

const DAY_MS = 86_400_000;
let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'copies', timeoutMs: 10_000 });
});
afterAll(() => t.close());
beforeEach(() => t.heal('bank_a'));

/** The same request, received now. */
const copyOf = (command: ReturnType<TestPayments['command']>, terms: object = {}) => ({
  ...command,
  receivedAt: performance.now(),
  ...terms,
});
const charges = () => t.books().length;

describe('a copy whose deadline is shorter than the first one runs', () => {
  test.each(['this instance', 'another'])(
    'is told that it still runs, and by which order, in time (%s)',
    async (by) => {
      await t.script('bank_a', { extra_latency_ms: 2_000 });
      const command = t.command({}, { deadlineMs: 8_000 });
      const first = t.pay(command);
      await waitFor('commit 1', async () => {
        const { rows } = await t.knex.raw('select 1 from orders where trace_number = ?', [
          command.request.trace_number,
        ]);
        return rows.length > 0;
      });
      const core = by === 'another' ? await t.instance('test-2') : t.core;
      await expect(t.pay(copyOf(command, { deadlineMs: 1_000 }), core)).rejects.toMatchObject({
        code: 'still_processing',
        orderId: expect.stringMatching(/^ord_/),
      });
      expect(await first).toMatchObject({ status: 201, json: { status: 'approved' } });
    },
  );
});

test('a copy of what is in doubt is answered at once: nothing is near that it could wait for', async () => {
  await t.script('bank_a', { rules: [{ behaviour: 'reset_after_accepting', operation: 'charge' }] });
  const command = t.command({}, { deadlineMs: 10_000 });
  const first = await t.pay(command);
  expect(first).toMatchObject({ status: 202, json: { status: 'in_doubt' } });
  const asked = performance.now();
  expect(await t.pay(copyOf(command))).toMatchObject({ status: 202, order: first.order, replayed: true });
  expect(performance.now() - asked).toBeLessThan(1_000);
});

describe('what was approved is told again', () => {
  test.each([
    ['its route was taken away', (_: TestPayments) => ({ routes: [] })],
    ['its channel is not there any more', () => ({ routes: [routeTo('bank_z')] })],
    [
      'its currency was taken away',
      (t: TestPayments) => ({ merchant: { ...t.command().merchant, currencies: new Set<string>() } }),
    ],
  ])('although %s since', async (_name, since) => {
    const command = t.command();
    const first = await t.pay(command);
    const before = charges();
    expect(await t.pay(copyOf(command, since(t)))).toMatchObject({ status: 201, body: first.body, replayed: true });
    expect(charges()).toBe(before);
  });

  test('although the request has grown too old since; another of that age is refused', async () => {
    const command = t.command();
    const first = await t.pay(command);
    const old = { ...command.request, transaction_time: new Date(Date.now() - 6.5 * DAY_MS).toISOString() };
    expect(await t.pay(copyOf(command, { request: old }))).toMatchObject({ status: 201, body: first.body });
    const { transaction_time } = old;
    await expect(t.pay(t.command({ transaction_time }))).rejects.toMatchObject({ code: 'too_old' });
  });

  test('a request that is not known is refused for what is wrong with it', async () => {
    await expect(t.pay(t.command({}, { routes: [] }))).rejects.toMatchObject({ code: 'no_channel' });
    await expect(
      t.pay(t.command({}, { merchant: { ...t.command().merchant, currencies: new Set<string>() } })),
    ).rejects.toMatchObject({ code: 'currency_not_enabled' });
  });
});

describe('an Idempotency-Key that is in use meets the number of', () => {
  test('a void that waits: refused naming the key, and the void goes on waiting', async () => {
    const paid = t.command();
    await t.pay(paid);
    const voided = t.command();
    await t.cancel(voided.request);
    const mixed = { ...t.command(), idempotencyKey: paid.idempotencyKey, request: voided.request };
    await expect(t.pay(mixed)).rejects.toMatchObject({
      code: 'idempotency_key_reused',
      errors: [{ pointer: 'Idempotency-Key' }, { pointer: '/trace_number' }],
    });
    expect((await t.pay(copyOf(voided))).json).toMatchObject({ status: 'cancelled' });
  });

  test('a void under the same key: that is no conflict, the payment is cancelled', async () => {
    const command = t.command();
    await t.cancel(command.request, t.core, command.idempotencyKey);
    expect((await t.pay(copyOf(command))).json).toMatchObject({ status: 'cancelled' });
  });

  test.each(['new', 'paid'])(
    '%s payment, where the key is a void of another number: the key is named',
    async (other) => {
      const voided = t.command();
      await t.cancel(voided.request, t.core, voided.idempotencyKey);
      const command = t.command();
      if (other === 'paid') await t.pay(command);
      await expect(t.pay(copyOf(command, { idempotencyKey: voided.idempotencyKey }))).rejects.toMatchObject({
        code: 'idempotency_key_reused',
        errors: [{ pointer: 'Idempotency-Key' }],
      });
    },
  );

  test('a void that waits, taken by the key of a payment at the same moment: one of the two, and no failure', async () => {
    for (let round = 0; round < 20; round++) {
      const one = t.command();
      const voided = t.command();
      await t.cancel(voided.request);
      const other = { ...t.command(), idempotencyKey: one.idempotencyKey, request: voided.request };
      const [first, second] = await Promise.allSettled([t.pay(copyOf(one)), t.pay(copyOf(other))]);
      for (const { status, reason } of [first, second] as { status: string; reason?: { code: string } }[])
        if (status === 'rejected') expect(reason?.code).toBe('idempotency_key_reused');
      expect([first, second].filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    }
  });
});

test('the key of a cancelled payment is kept from its arrival, not from its void', async () => {
  const command = t.command();
  await t.cancel(command.request);
  const age = () =>
    t.knex.raw("update payment_key set created_at = created_at - interval '6.9 days' where merchant_id = ?", [
      MERCHANT,
    ]);
  const ageOf = async () => {
    const { rows } = await t.knex.raw(
      'select extract(epoch from now() - max(created_at))::float8 as s from payment_key where merchant_id = ?',
      [MERCHANT],
    );
    return rows[0].s as number;
  };
  await age();
  await t.cancel(command.request); // the same void again: held anew
  expect(await ageOf()).toBeLessThan(60);
  await age();
  expect((await t.pay(copyOf(command))).json).toMatchObject({ status: 'cancelled' });
  expect(await ageOf()).toBeLessThan(60);
});

test.each(['overloaded', 'rate_limited', 'too_old', 'database_unavailable', 'still_processing'] as const)(
  '%s, said without a look at what an earlier sending came to, does not say that no money was moved',
  (code) => {
    expect(new Problem(code, '').toBody('/v1/payments', 'r')).toMatchObject({ money_moved: 'see_order' });
  },
);

test('no order has a gap in its versions', async () => {
  expect(await wrongVersions(t.knex)).toEqual([]);
});
