// A void in every state of its payment, also before it.
import { heldVoidSchema } from '@ballast/contracts';
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { closeWindow } from '../src/payments/close-window.ts';
import { findPayment } from '../src/payments/find-payment.ts';
import { takePayment } from '../src/payments/take-payment.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { MERCHANT, openTestPayments, type TestPayments, terminal } from './support/open-payments.ts';
import { wrongVersions } from './support/versions.ts';

const LONG_MS = 600_000;
let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'voids' });
});
afterAll(() => t.close());
beforeEach(() => t.heal('bank_a'));

const reversals = () => t.books().filter(({ kind }) => kind === 'reversal').length;
const numberOf = (command: ReturnType<TestPayments['command']>) => command.request;

describe('a void before its payment', () => {
  test('holds the number; the payment is cancelled when it comes, and nothing is sent', async () => {
    const command = t.command();
    const charges = t.books().length;
    expect(await t.cancel(numberOf(command))).toMatchObject({ status: 200, orderId: null });
    const told = await t.pay(command);
    expect(told).toMatchObject({ status: 201, json: { status: 'cancelled' } });
    expect(await t.attempts(told.order)).toEqual([]);
    expect(await t.events(told.order)).toEqual(['cancelled']);
    expect((await t.pay(command)).body).toBe(told.body);
    expect(await t.cancel(numberOf(command))).toMatchObject({ status: 200 });
    expect(t.books().length).toBe(charges);
  });

  test('says that the number is held, not that anything was cancelled', async () => {
    const { request } = t.command();
    const told = await t.cancel(request);
    expect(heldVoidSchema.parse(JSON.parse(told.body))).toMatchObject({
      status: 'held',
      message: expect.stringMatching(/7 days/),
    });
  });

  test('of a payment older than keys are kept is refused: its payment may have been made and forgotten', async () => {
    const { request } = t.command();
    const transaction_time = new Date(Date.now() - 6.5 * 86_400_000).toISOString();
    await expect(t.cancel({ ...request, transaction_time })).rejects.toMatchObject({
      code: 'too_old',
      errors: [{ pointer: '/transaction_time' }],
    });
    const { rows } = await t.knex.raw('select 1 from payment_key where order_id is null');
    const before = rows.length;
    const tomorrow = new Date(Date.now() + 2 * 86_400_000).toISOString();
    await expect(t.cancel({ ...request, transaction_time: tomorrow })).rejects.toMatchObject({ code: 'too_old' });
    expect((await t.knex.raw('select 1 from payment_key where order_id is null')).rows).toHaveLength(before);
  });

  test('however old the time it gives, a payment that is known is voided as it stands', async () => {
    const command = t.command();
    await t.pay(command);
    const transaction_time = new Date(Date.now() - 6.5 * 86_400_000).toISOString();
    expect(await t.cancel({ ...command.request, transaction_time })).toMatchObject({ status: 202 });
  });

  test('twenty copies of the payment behind it: one order, one answer', async () => {
    const command = t.command();
    await t.cancel(numberOf(command));
    const told = await Promise.all(Array.from({ length: 20 }, () => t.pay(command)));
    expect(new Set(told.map(({ body }) => body)).size).toBe(1);
    expect(new Set(told.map(({ order }) => order)).size).toBe(1);
  });
});

describe('a void of a payment that is', () => {
  test('processing: the wish is kept, and the approval that comes is given back', async () => {
    await t.script('bank_a', { extra_latency_ms: 150 });
    const command = t.command();
    const paying = takePayment(t.core, command);
    await waitFor('commit 1', async () => {
      const { rows } = await t.knex.raw('select 1 from orders where trace_number = ?', [command.request.trace_number]);
      return rows.length > 0;
    });
    await t.cancel(numberOf(command));
    const told = await paying;
    expect(JSON.parse(told.body)).toMatchObject({ status: 'not_completed' });
    expect(await t.events(told.orderId ?? '')).toEqual(['accepted', 'void_requested', 'reversing']);
    await t.heal('bank_a');
    await runOnce(t.core);
    expect((await t.order(told.orderId ?? ''))['status']).toBe('reversed');
  });

  test('in doubt: it goes to reversing at once, and its terminal is told not_completed', async () => {
    await t.script('bank_a', { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }] });
    const command = t.command();
    const { order } = await t.pay(command);
    expect(await t.cancel(numberOf(command))).toMatchObject({ status: 202, orderId: order });
    expect(JSON.parse((await t.pay(command)).body)).toMatchObject({ status: 'not_completed' });
    await runOnce(t.core);
    expect((await t.order(order))['status']).toBe('reversed');
  });

  test('approved, within the window: reversed once, however often it is voided; its answer stays what it was', async () => {
    const command = t.command();
    const paid = await t.pay(command);
    const before = reversals();
    const voids = await Promise.all(Array.from({ length: 10 }, () => t.cancel(numberOf(command))));
    expect(new Set(voids.map(({ status }) => status))).toEqual(new Set([202]));
    await runOnce(t.core);
    expect(await t.cancel(numberOf(command))).toMatchObject({ status: 200 });
    expect(await t.events(paid.order)).toEqual(['accepted', 'approved', 'reversing', 'reversed']);
    expect(reversals()).toBe(before + 1);
    expect((await t.pay(command)).body).toBe(paid.body);
    const found = await findPayment(t.core, terminal, paid.order);
    expect(JSON.parse(found?.body ?? '')).toMatchObject({ status: 'reversed', answer: 'approved' });
  });

  test('approved, after the window: refused, pointing to refund', async () => {
    const command = t.command();
    const paid = await t.pay(command);
    await t.age(paid.order, 3_600_001);
    await expect(t.cancel(numberOf(command))).rejects.toMatchObject({ code: 'not_voidable', message: /refund/ });
    expect((await t.order(paid.order))['status']).toBe('approved');
  });

  test('approved, within the window by a clock that went back: refused once a watermark has told that it is over', async () => {
    const command = t.command();
    const paid = await t.pay(command);
    await t.knex.raw(
      `insert into journal_watermark (node, value) select 'n', voidable_until from orders where order_id = ?`,
      [paid.order],
    );
    await expect(t.cancel(numberOf(command))).rejects.toMatchObject({ code: 'not_voidable', message: /refund/ });
    expect(await t.events(paid.order)).toEqual(['accepted', 'approved']);
    await t.knex.raw(`update journal_watermark set value = value - interval '1 microsecond'`);
    expect(await t.cancel(numberOf(command))).toMatchObject({ status: 202 });
    await t.knex.raw('delete from journal_watermark');
  });

  test('declined: success without effect', async () => {
    const method = {
      type: 'card',
      number: '4000000000000002',
      expiry_month: 1,
      expiry_year: 2030,
      entry_mode: 'chip',
    } as const;
    const command = t.command({ payment_method: method });
    const paid = await t.pay(command);
    expect(paid.json).toMatchObject({ status: 'declined' });
    expect(await t.cancel(numberOf(command))).toMatchObject({ status: 200 });
    expect(await t.events(paid.order)).toEqual(['accepted', 'declined']);
  });

  test('reversal_refused: refused, pointing to refund', async () => {
    await t.script('bank_a', { rules: [{ behaviour: 'reversal_refused', operation: 'reversal' }] });
    const command = t.command();
    await t.pay(command);
    await t.cancel(numberOf(command));
    await runOnce(t.core);
    await expect(t.cancel(numberOf(command))).rejects.toMatchObject({ code: 'not_voidable', message: /refund/ });
  });

  test("another terminal's, or the same terminal's with its live key: neither is touched", async () => {
    const command = t.command();
    const paid = await t.pay(command);
    for (const other of [
      { ...terminal, terminalId: '019a0000-0000-7000-8000-0000000000a2' },
      { ...terminal, livemode: true },
    ]) {
      expect(await findPayment(t.core, other, paid.order)).toBeNull();
    }
  });
});

describe('the window of an order', () => {
  test('closes early with an event and a reply, and no void has an effect after it', async () => {
    const command = t.command();
    const paid = await t.pay(command);
    const reply = await closeWindow(t.core, MERCHANT, paid.order, null);
    expect(reply).toEqual({ closed: true, status: 'approved', version: 3 });
    expect(await closeWindow(t.core, MERCHANT, paid.order, null)).toEqual(reply);
    await expect(t.cancel(numberOf(command))).rejects.toMatchObject({ code: 'not_voidable' });
    expect(await t.events(paid.order)).toEqual(['accepted', 'approved', 'window_closed']);
  });

  test('does not close while the order is being undone, and not for an order of another merchant', async () => {
    const command = t.command();
    const paid = await t.pay(command);
    await t.cancel(numberOf(command));
    expect(await closeWindow(t.core, MERCHANT, paid.order, null)).toMatchObject({ closed: false, status: 'reversing' });
    expect(await closeWindow(t.core, '019a0000-0000-7000-8000-00000000000b', paid.order, null)).toBeNull();
  });
});

test('a void of an order that waits with a person closes the case and reverses it', async () => {
  await t.script('bank_a', { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }] });
  const command = t.command();
  const { order } = await t.pay(command);
  await t.knex.raw("update attempt set state = 'needs_person' where order_id = ?", [order]);
  await t.knex.raw(
    `insert into person_case (merchant_id, order_id, version, attempt_no, channel, reason) values (?, ?, 2, 1, 'bank_a', 'x')`,
    [MERCHANT, order],
  );
  await t.age(order, LONG_MS);
  await t.cancel(numberOf(command));
  const { rows } = await t.knex.raw('select action from person_case where order_id = ?', [order]);
  expect(rows).toEqual([{ action: 'voided' }]);
  await runOnce(t.core);
  expect((await t.order(order))['status']).toBe('reversed');
});

test('no order has a gap in its versions', async () => {
  expect(await wrongVersions(t.knex)).toEqual([]);
});
