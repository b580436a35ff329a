// Whatever hangs, the terminal is answered within its deadline, and what it is told is true.

import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { findPayment } from '../src/payments/find-payment.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { openTestPayments, type TestPayments, terminal } from './support/open-payments.ts';

const DEADLINE_MS = 2_000;
/** Timers of a busy machine. */
const SLACK_MS = 500;
let t: TestPayments;

beforeAll(async () => {
  t = await openTestPayments({ label: 'deadline', timeoutMs: 10_000 });
});
afterAll(() => t.close());
beforeEach(() => t.heal('bank_a'));

async function timed<T>(work: () => Promise<T>): Promise<{ told: PromiseSettledResult<T>; ms: number }> {
  const started = performance.now();
  const [told] = await Promise.allSettled([work()]);
  return { told, ms: performance.now() - started };
}

test('a bank that never answers: 202 in time, with the moment until which an approval may still be told', async () => {
  await t.script('bank_a', { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }] });
  const command = t.command();
  const { told, ms } = await timed(() => t.pay(command));
  expect(ms).toBeLessThan(DEADLINE_MS + SLACK_MS);
  expect(told).toMatchObject({ value: { status: 202, json: { status: 'in_doubt' } } });
  const json = told.status === 'fulfilled' ? told.value.json : {};
  const graceMs = Date.parse(String(json['approve_until'])) - Date.parse(String(json['created_at']));
  expect(graceMs).toBeGreaterThan(60_000);
  expect(json['message']).toMatch(/not answered yet/);
});

test('a database that locks up before commit 1: 503 in time, and nothing is sent to a bank', async () => {
  const charges = t.books().length;
  const blocker = new pg.Client(t.databaseUrl);
  await blocker.connect();
  await blocker.query('begin; lock table payment_key in access exclusive mode');
  const { told, ms } = await timed(() => t.pay());
  expect(ms).toBeLessThan(DEADLINE_MS + SLACK_MS);
  expect(told).toMatchObject({ reason: { code: expect.stringMatching(/^(database_unavailable|overloaded)$/) } });
  await blocker.query('rollback');
  await blocker.end();
  await waitFor('the lane', async () => (await t.pay(t.command({}, { receivedAt: performance.now() }))).status === 201);
  expect(t.books().length).toBe(charges + 1);
});

test('a database that locks up before commit 2: 202 in time, never "approved", and the approval is learnt afterwards', async () => {
  await t.script('bank_a', { extra_latency_ms: 200 });
  const blocker = new pg.Client(t.databaseUrl);
  await blocker.connect();
  const command = t.command();
  const paying = timed(() => t.pay(command));
  const id = await waitFor('commit 1', async () => {
    const { rows } = await t.knex.raw('select order_id from orders where trace_number = ?', [
      command.request.trace_number,
    ]);
    return rows[0]?.order_id as string | undefined;
  });
  await blocker.query('begin');
  await blocker.query('select from orders where order_id = $1 for update', [id]);
  const { told, ms } = await paying;
  expect(ms).toBeLessThan(DEADLINE_MS + SLACK_MS);
  expect(told).toMatchObject({ value: { status: 202 } });
  await blocker.query('rollback');
  await blocker.end();
  await t.heal('bank_a');
  await waitFor('the approval', async () => {
    await runOnce(t.core);
    return (await findPayment(t.core, terminal, id))?.final;
  });
  expect(await t.order(id)).toMatchObject({ status: 'approved', answer_status: 'approved' });
});

test('a copy of a payment that still runs waits for its answer, and gets the same bytes', async () => {
  await t.script('bank_a', { extra_latency_ms: 300 });
  const command = t.command();
  const told = await Promise.all(Array.from({ length: 20 }, () => t.pay(command)));
  expect(new Set(told.map(({ body }) => body)).size).toBe(1);
  expect(told.filter(({ replayed }) => !replayed)).toHaveLength(1);
});
