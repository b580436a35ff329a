// A statement that moves an order without its attempt or its event undoes itself: nothing half-moved is ever committed.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { decided } from '../src/payments/learn-outside.ts';
import { lesson } from '../src/payments/learnt.ts';
import { dueOrders, takeLease } from '../src/payments/leases.sql.ts';
import { findMovable, makeMove } from '../src/payments/moves.sql.ts';
import { closeWindowOf, voidOrder } from '../src/payments/orders.sql.ts';
import { factsOfRow } from '../src/payments/replay.ts';
import { MERCHANT, openTestPayments, type TestPayments } from './support/open-payments.ts';

const NOT_WHOLE = { code: 'BL001' };
let t: TestPayments;
let orderId: string;

beforeAll(async () => {
  t = await openTestPayments({ label: 'whole' });
});
afterAll(() => t.close());
beforeEach(async () => {
  orderId = (await t.pay()).order;
});

/** As if it lay outside the statement's snapshot. */
const hideAttempt = () => t.knex.raw('delete from attempt where order_id = ?', [orderId]);
const stands = async () => {
  expect(await t.order(orderId)).toMatchObject({ version: 2 });
  expect(await t.events(orderId)).toEqual(['accepted', 'approved']);
};

test('a void', async () => {
  await hideAttempt();
  const asked = { merchantId: MERCHANT, orderId, attemptNo: 1, answer: '{}', traceparent: null };
  await expect(voidOrder(t.knex, asked)).rejects.toMatchObject(NOT_WHOLE);
  await stands();
});

test('a void that looked at another attempt has no effect', async () => {
  const asked = { merchantId: MERCHANT, orderId, attemptNo: 2, answer: '{}', traceparent: null };
  expect(await voidOrder(t.knex, asked)).toBeUndefined();
  await stands();
});

test('the closing of a window', async () => {
  await hideAttempt();
  await expect(closeWindowOf(t.knex, MERCHANT, orderId, null)).rejects.toMatchObject(NOT_WHOLE);
  await stands();
});

test('a move decided before', async () => {
  const row = await findMovable(t.knex, MERCHANT, orderId, 1);
  if (row === undefined) throw new Error('no such order');
  await hideAttempt();
  const move = { order: 'reversing', attempt: 'reversing', answer: null } as const;
  const learnt = lesson(factsOfRow(row), 'unwanted', 'test', null);
  await expect(makeMove(t.knex, decided(row, 1, move, learnt, null))).rejects.toMatchObject(NOT_WHOLE);
  await stands();
});

test('a lease', async () => {
  await t.knex.raw("update orders set work = 'reverse', lease_until = now() - interval '1 s' where order_id = ?", [
    orderId,
  ]);
  const [candidate] = await dueOrders(t.knex, [{ channel: 'bank_a', work: 'reverse' }], 1, false);
  if (candidate === undefined) throw new Error('nothing is due');
  await hideAttempt();
  await expect(takeLease(t.knex, candidate, 'test', 1_000)).rejects.toMatchObject(NOT_WHOLE);
  expect(await t.order(orderId)).toMatchObject({ lease_epoch: candidate.lease_epoch });
});
