// Another channel is tried only when the first provably sent nothing, and under a reference of its own that is committed
// before it is sent.
import { waitFor } from '@ballast/database/testing';
import { defaultRules } from '@ballast/resilience';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { bankReference } from '../src/payments/bank-reference.ts';
import { beginNextAttempt } from '../src/payments/orders.sql.ts';
import { takePayment } from '../src/payments/take-payment.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { MERCHANT, openTestPayments, routeTo, type TestPayments } from './support/open-payments.ts';
import { wrongVersions } from './support/versions.ts';

let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({
    label: 'second channel',
    timeoutMs: 2_000,
    banks: [{ name: 'bank_a' }, { name: 'bank_b' }, { name: 'bank_c' }],
    // Nobody listens there: connections are refused.
    urls: { bank_a: 'http://127.0.0.1:9' },
  });
});
afterAll(() => t.close());
beforeEach(() => Promise.all([t.heal('bank_b'), t.heal('bank_c')]));

/** bank_a first: its route has the longer prefix. */
const routes = [
  routeTo('bank_a', { binPrefix: '4242', terminalNumber: 'TA' }),
  routeTo('bank_b', { terminalNumber: 'TB' }),
];

test('a connection that was never made is followed by the next channel, and the bank hears one reference', async () => {
  const told = await t.pay(t.command({}, { routes, deadlineMs: 10_000 }));
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
  const told = await t.pay(t.command({}, { routes: routes.slice(0, 1), deadlineMs: 10_000 }));
  expect(told).toMatchObject({ status: 201, json: { status: 'not_completed' } });
});

test('a second channel that falls in doubt is resolved there', async () => {
  await t.script('bank_b', { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }] });
  const told = await t.pay(t.command({}, { routes, deadlineMs: 10_000 }));
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

test('a void that waits for the lock while the second attempt begins sees it, and the journal has no gap', async () => {
  await t.script('bank_b', { extra_latency_ms: 1_000 });
  const command = t.command({}, { routes: [routeTo('bank_b')], deadlineMs: 10_000 });
  const paying = takePayment(t.core, command);
  const order = await waitFor('commit 1', async () => {
    const { rows } = await t.knex.raw("select order_id from orders where status = 'processing' and trace_number = ?", [
      command.request.trace_number,
    ]);
    return rows[0]?.order_id as string | undefined;
  });
  const locked = await t.knex.transaction();
  await locked.raw('select 1 from orders where order_id = ? for update', [order]);
  const voiding = t.cancel(command.request);
  await waitFor('the void waits for the lock', async () => {
    const { rows } = await t.knex.raw(
      "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%void_requested%'",
    );
    return rows.length > 0;
  });
  const begun = await beginNextAttempt(locked, {
    merchantId: MERCHANT,
    orderId: order,
    leaseOwner: 'test-1',
    leaseEpoch: 1,
    attemptNo: 1,
    reason: 'connect_failed',
    channel: 'bank_b',
    bankReference: bankReference(order, 2),
    bankMerchantNumber: 'M1',
    bankTerminalNumber: 'T1',
    remainingMs: 2_000,
    traceparent: null,
  });
  await locked.commit();
  expect(begun).toBe(true);
  expect(await voiding).toMatchObject({ status: 202, orderId: order });
  await paying;
  expect(await t.events(order)).toEqual(['accepted', 'attempt_changed', 'attempt_changed', 'void_requested']);
  expect(await wrongVersions(t.knex)).toEqual([]);
  // What a real second attempt would learn ends it; here nobody sends one.
  await t.knex.raw('update orders set work = null where order_id = ?', [order]);
});

test('a void that comes between the two is obeyed: the second is never sent', async () => {
  const charges = t.books('bank_b').length;
  const rounds = 20;
  for (let round = 0; round < rounds; round++) {
    const command = t.command({}, { routes, deadlineMs: 10_000 });
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
  expect(await wrongVersions(t.knex)).toEqual([]);
});

/** Of bank_b: it has just failed, and so many payments may probe. */
async function halfOpen(probes: number) {
  const channel = t.channels.get('bank_b');
  if (channel === undefined) throw new Error('BUG: bank_b is open');
  const { version: _, ...rules } = defaultRules;
  const breaker = { ...rules.breaker, minimumCalls: 1, failureRate: 0.01, openMs: 10, longestOpenMs: 10, probes };
  channel.policies.pay.closeNow();
  channel.policies.pay.applyRules({ ...rules, version: 1, retry: { ...rules.retry, retries: 0 }, breaker });
  await t.script('bank_b', { rules: [{ behaviour: 'server_error', operation: 'charge' }] });
  await t.pay(t.command({}, { routes: [routeTo('bank_b')] }));
  expect(channel.policies.pay.snapshot().state).toBe('open');
  const openedAt = performance.now();
  await t.heal('bank_b');
  await waitFor('time to probe', () => performance.now() > openedAt + breaker.longestOpenMs);
  const hasPlace = () => {
    const reserved = channel.reserve('pay', MERCHANT);
    if ('giveBack' in reserved) reserved.giveBack();
    return 'giveBack' in reserved;
  };
  return { channel, hasPlace };
}

test('half-open, payments beyond the probes are refused before anything is stored, and every probe that was promised is made', async () => {
  await halfOpen(3);
  const orders = async () => Number((await t.knex.raw('select count(*) as count from orders')).rows[0].count);
  await t.script('bank_b', { extra_latency_ms: 300 });
  const before = await orders();
  const told = await Promise.allSettled(
    Array.from({ length: 30 }, () => t.pay(t.command({}, { routes: [routeTo('bank_b')], deadlineMs: 10_000 }))),
  );
  const paid = told.flatMap((one) => (one.status === 'fulfilled' ? [one.value.json['status']] : []));
  expect(paid).toEqual(['approved', 'approved', 'approved']);
  for (const one of told) if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'channel_refused' });
  expect((await orders()) - before).toBe(3);
});

test('half-open, a copy that waits for its answer keeps no place of a probe', async () => {
  const { hasPlace } = await halfOpen(2);
  await t.script('bank_b', { extra_latency_ms: 1_500 });
  const command = t.command({}, { routes: [routeTo('bank_b')], deadlineMs: 10_000 });
  const first = takePayment(t.core, command);
  await waitFor('commit 1', () => t.core.inFlight.size === 1);
  let answered = false;
  const copy = takePayment(t.core, { ...command, receivedAt: performance.now() })
    .catch(() => undefined) // it may be told that the first is still running
    .finally(() => {
      answered = true;
    });
  expect(hasPlace()).toBe(false); // the first one's probe, and the copy's until it knows that it is one
  await waitFor('a place', () => hasPlace());
  expect(answered).toBe(false);
  await Promise.all([first, copy]);
});

test('half-open, the place that a payment could not use is free while it is tried elsewhere', async () => {
  const { channel, hasPlace } = await halfOpen(1);
  await t.script('bank_c', { extra_latency_ms: 1_000 });
  const elsewhere = [routeTo('bank_b', { binPrefix: '4242' }), routeTo('bank_c')];
  const paying = t.pay(t.command({}, { routes: elsewhere, deadlineMs: 10_000 }));
  expect(hasPlace()).toBe(false);
  channel.setGate({ mode: 'forced_open', reason: 'test' }); // it has its place, and is refused when it comes to call
  await waitFor('the second attempt', () => t.channels.get('bank_c')?.policies.pay.snapshot().inFlight === 1);
  channel.setGate({ mode: 'automatic' });
  expect(hasPlace()).toBe(true);
  expect((await paying).json).toMatchObject({ status: 'approved' });
});
