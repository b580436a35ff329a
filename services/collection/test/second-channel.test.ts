// Another channel is tried only when the first provably sent nothing, and under a reference of its own that is committed
// before it is sent.
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { takePayment } from '../src/payments/take-payment.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { openTestPayments, routeTo, type TestPayments } from './support/open-payments.ts';

let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({
    label: 'second channel',
    banks: [{ name: 'bank_a' }, { name: 'bank_b' }],
    // Nobody listens there: connections are refused.
    urls: { bank_a: 'http://127.0.0.1:9' },
  });
});
afterAll(() => t.close());
beforeEach(() => t.heal('bank_b'));

/** bank_a first: its route has the longer prefix. */
const routes = [
  routeTo('bank_a', { binPrefix: '4242', terminalNumber: 'TA' }),
  routeTo('bank_b', { terminalNumber: 'TB' }),
];

test('a connection that was never made is followed by the next channel, and the bank hears one reference', async () => {
  const told = await t.pay(t.command({}, { routes }));
  expect(told.json).toMatchObject({ status: 'approved' });
  const attempts = await t.attempts(told.order);
  expect(attempts).toMatchObject([
    { attempt_no: 1, state: 'not_sent', channel: 'bank_a', bank_terminal_number: 'TA' },
    { attempt_no: 2, state: 'approved', channel: 'bank_b', bank_terminal_number: 'TB' },
  ]);
  expect(new Set(attempts.map((attempt) => attempt['bank_reference'])).size).toBe(2);
  expect(await t.events(told.order)).toEqual(['accepted', 'attempt_changed', 'attempt_changed', 'approved']);
  expect(await t.order(told.order)).toMatchObject({ channel: 'bank_b', attempt_no: 2 });
});

test('with no other channel it is not completed', async () => {
  const told = await t.pay(t.command({}, { routes: routes.slice(0, 1) }));
  expect(told).toMatchObject({ status: 201, json: { status: 'not_completed' } });
});

test('a second channel that falls in doubt is resolved there', async () => {
  await t.script('bank_b', { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }] });
  const told = await t.pay(t.command({}, { routes }));
  expect(told).toMatchObject({ status: 202 });
  await waitFor('an inquiry at bank_b', async () => {
    await t.knex.raw('update orders set lease_until = now() where order_id = ?', [told.order]);
    await runOnce(t.core);
    return (await t.order(told.order))['status'] === 'approved';
  });
});

test('a channel whose gate is shut is passed over before anything is stored', async () => {
  t.channels.get('bank_b')?.setGate({ mode: 'forced_open', reason: 'test' });
  try {
    await expect(t.pay(t.command({}, { routes: [routeTo('bank_b')] }))).rejects.toMatchObject({
      code: 'channel_refused',
    });
    const told = await t.pay(t.command({}, { routes: [routeTo('bank_b', { binPrefix: '4' }), routeTo('bank_a')] }));
    expect(await t.attempts(told.order)).toMatchObject([{ attempt_no: 1, channel: 'bank_a' }]);
  } finally {
    t.channels.get('bank_b')?.setGate({ mode: 'automatic' });
  }
});

test('a void that comes between the two is obeyed: the second is never sent', async () => {
  const charges = t.books('bank_b').length;
  const rounds = 20;
  for (let round = 0; round < rounds; round++) {
    const command = t.command({}, { routes });
    const paying = takePayment(t.core, command);
    const voiding = t.cancel(command.request);
    const told = await paying;
    await voiding.catch(() => undefined);
    if (JSON.parse(told.body).status === 'approved') continue; // the payment was quicker
    const order = await t.order(told.orderId ?? '');
    if (order['status'] === 'cancelled')
      expect((await t.attempts(told.orderId ?? '')).every((a) => a['state'] === 'not_sent')).toBe(true);
  }
  await waitFor('all reversed', async () => {
    await runOnce(t.core);
    const { rows } = await t.knex.raw('select count(*)::int as open from orders where work is not null');
    return rows[0].open === 0;
  });
  const standing = t
    .books('bank_b')
    .slice(charges)
    .filter(({ kind }) => kind === 'charge').length;
  const { rows } = await t.knex.raw(
    "select count(*)::int as sent from attempt where channel = 'bank_b' and state <> 'not_sent'",
  );
  expect(rows[0].sent).toBeGreaterThanOrEqual(standing);
});
