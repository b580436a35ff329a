// A lease that was taken while the bank was being asked, or that another clock has stamped. Whoever lost it moves nothing by
// it; but what the bank said is learnt all the same, and nobody waits for a time that no clock of ours would give.
import { startProxy, type TestProxy, waitFor } from '@ballast/database/testing';
import { defaultRules } from '@ballast/resilience';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { PaymentsCore } from '../src/payments/core.ts';
import { openCases } from '../src/payments/persons.sql.ts';
import { runOnce, runResolver } from '../src/workers/resolver.ts';
import { openTestPayments, quickResolving, type TestPayments } from './support/open-payments.ts';

let t: TestPayments;
/** Between `held` and the bank: what the bank says to it comes when the test lets it. */
let proxy: TestProxy;
let held: PaymentsCore;
const odd: string[] = [];

beforeAll(async () => {
  t = await openTestPayments({
    label: 'lost leases',
    timeoutMs: 20_000,
    core: {
      onOddAnswer: (_channel, kind) => odd.push(kind),
      resolving: { ...quickResolving, callMs: 20_000 },
    },
  });
  const { hostname: host, port } = new URL(t.bankUrl('bank_a'));
  proxy = await startProxy({ host, port: Number(port) });
  held = await t.instance('test-held', { channels: t.channelsTo({ bank_a: `http://127.0.0.1:${proxy.port}` }) });
});
afterAll(async () => {
  await t.close();
  await proxy.close();
});
beforeEach(async () => {
  odd.length = 0;
  proxy.release();
  await t.heal('bank_a');
});

const inquiry = (behaviour: string) => ({ behaviour, operation: 'inquiry' });
const reversal = (behaviour: string) => ({ behaviour, operation: 'reversal' });
const booksOf = async (order: string) => {
  const references = (await t.attempts(order)).map((attempt) => attempt['bank_reference']);
  return t.books().filter(({ reference }) => references.includes(reference));
};
const stateOf = async (order: string) => (await t.attempts(order))[0]?.['state'];

/** Its lease has run out, and whoever is asked looks. */
async function look(order: string, core = t.core): Promise<void> {
  await t.knex.raw("update orders set lease_until = now() - interval '1 ms' where order_id = ? and work is not null", [
    order,
  ]);
  await runOnce(core);
}

async function resolvesTo(order: string, state: string): Promise<void> {
  await waitFor(`${order} ${state}`, async () => {
    await look(order);
    return (await stateOf(order)) === state;
  });
}

/** Charged at the bank, whose answer is on its way to a sender that still waits for it. */
async function charging() {
  proxy.holdAnswers();
  const command = t.command({}, { deadlineMs: 30_000 });
  const paying = t.pay(command, held);
  const order = await waitFor('the charge', async () => {
    const { rows } = await t.knex.raw('select order_id from orders where trace_number = ?', [
      command.request.trace_number,
    ]);
    const id: string | undefined = rows[0]?.order_id;
    return id !== undefined && (await booksOf(id)).length === 1 ? id : undefined;
  });
  return { order, paying, number: command.request };
}

describe('a sender whose lease was taken, and whose bank answers in time', () => {
  test('learns an approval: the order in doubt is approved, and its terminal is told so', async () => {
    const { order, paying } = await charging();
    await t.script('bank_a', { rules: [inquiry('not_found')] });
    await look(order);
    expect(await t.order(order)).toMatchObject({ status: 'in_doubt' });
    proxy.release();
    expect(await paying).toMatchObject({ status: 201, json: { status: 'approved' } });
    expect(await t.order(order)).toMatchObject({ status: 'approved', answer_status: 'approved', work: null });
    expect(odd).toEqual([]);
  });

  test('learns an approval before the one who took the lease has learnt anything', async () => {
    const { order, paying } = await charging();
    await t.knex.raw("update orders set lease_owner = 'another', lease_epoch = 2 where order_id = ?", [order]);
    proxy.release();
    expect(await paying).toMatchObject({ status: 201, json: { status: 'approved' } });
    expect(await t.events(order)).toEqual(['accepted', 'approved']);
  });

  test('learns a decline', async () => {
    proxy.holdAnswers();
    const declined = { ...t.command().request.payment_method, number: '4000000000000002' } as never;
    const command = t.command({ payment_method: declined }, { deadlineMs: 30_000 });
    const paying = t.pay(command, held);
    const order = await waitFor('commit 1', async () => {
      const { rows } = await t.knex.raw('select order_id from orders where trace_number = ?', [
        command.request.trace_number,
      ]);
      return rows[0]?.order_id as string | undefined;
    });
    await t.script('bank_a', { rules: [inquiry('not_found')] });
    await look(order);
    proxy.release();
    expect(await paying).toMatchObject({ status: 201, json: { status: 'declined' } });
  });

  test('an approval of what was given up meanwhile is reversed, and the order stays', async () => {
    const { order, paying } = await charging();
    await t.script('bank_a', { rules: [inquiry('not_found')] });
    await look(order);
    await t.age(order, 600_000);
    await look(order);
    expect(await t.order(order)).toMatchObject({ status: 'not_completed' });
    proxy.release();
    expect(await paying).toMatchObject({ status: 201, json: { status: 'not_completed' } });
    await t.heal('bank_a');
    await resolvesTo(order, 'reversed');
    expect((await booksOf(order)).map(({ kind }) => kind)).toEqual(['charge', 'reversal']);
    expect(await t.order(order)).toMatchObject({ status: 'not_completed', work: null });
    expect(odd).toEqual(['stale_approved']);
  });

  test('an approval of what is being reversed is kept against the bank that "never heard of it"', async () => {
    const { order, paying, number } = await charging();
    await t.script('bank_a', { rules: [inquiry('not_found'), reversal('not_found')] });
    await look(order);
    await t.cancel(number);
    proxy.release();
    expect(await paying).toMatchObject({ status: 201, json: { status: 'not_completed' } });
    await t.age(order, 600_000);
    await resolvesTo(order, 'needs_person');
    expect((await openCases(t.knex, 100)).find((one) => one.order_id === order)).toMatchObject({
      reason: 'reversal_not_found_after_approval',
    });
  });

  test('an approval that the resolver has reversed by then is the same one: nothing is sent again', async () => {
    const { order, paying } = await charging();
    await t.script('bank_a', { rules: [inquiry('server_error')] });
    await look(order);
    await t.heal('bank_a');
    await t.age(order, 600_000);
    await resolvesTo(order, 'reversed');
    const { version } = await t.order(order);
    proxy.release();
    expect(await paying).toMatchObject({ status: 201, json: { status: 'not_completed' } });
    expect(await t.order(order)).toMatchObject({ status: 'reversed', version, work: null });
    expect(odd).toEqual([]);
  });
});

test('an approval whose commit 2 was refused is learnt as soon as it can be, without asking the bank', async () => {
  await t.knex.raw("alter table orders add constraint refused check (status <> 'approved') not valid");
  const told = await t.pay().finally(() => t.knex.raw('alter table orders drop constraint refused'));
  const { order } = told;
  expect(told).toMatchObject({ status: 202, json: { status: 'in_doubt' } });
  await waitFor('the approval', async () => (await t.order(order))['status'] === 'approved');
  expect(await t.events(order)).toEqual(['accepted', 'approved']);
});

test('a process that is told to stop while a bank is about to answer learns that answer first', async () => {
  const leaving = await t.instance('test-leaving');
  await t.script('bank_a', { extra_latency_ms: 300 });
  const paying = t.pay(t.command({}, { deadlineMs: 10_000 }), leaving);
  await waitFor('commit 1', () => leaving.inFlight.size === 1);
  await leaving.close();
  expect(await paying).toMatchObject({ status: 201, json: { status: 'approved' } });
});

describe('an inquiry whose lease was lost', () => {
  /** In doubt, and its inquiry is on its way back to `held`. */
  async function inquiring() {
    await t.script('bank_a', { rules: [{ behaviour: 'reset_after_accepting', operation: 'charge' }] });
    const command = t.command();
    const { order } = await t.pay(command);
    expect(await t.order(order)).toMatchObject({ status: 'in_doubt' });
    proxy.holdAnswers();
    const { lease_epoch } = await t.order(order);
    const looking = look(order, held);
    await waitFor('the inquiry', async () => (await t.order(order))['lease_epoch'] !== lease_epoch);
    return { order, looking, number: command.request };
  }

  test('to a void: the approval it brings is kept', async () => {
    const { order, looking, number } = await inquiring();
    await t.cancel(number);
    proxy.release();
    await looking;
    expect(await t.order(order)).toMatchObject({ status: 'reversing' });
    expect((await t.attempts(order))[0]?.['rrn']).not.toBeNull();
    await t.script('bank_a', { rules: [reversal('not_found')] });
    await t.age(order, 600_000);
    await resolvesTo(order, 'needs_person');
  });

  test('to another resolver that gave the order up: the approval it brings is reversed', async () => {
    const { order, looking } = await inquiring();
    // As another one left it, whom the bank told "not found".
    await t.knex.raw(
      `with a as (update attempt set state = 'not_found' where order_id = :order)
       update orders set status = 'not_completed', answer = '{}', answer_status = 'not_completed', work = null,
         lease_epoch = lease_epoch + 1, version = version + 1 where order_id = :order`,
      { order },
    );
    proxy.release();
    await looking;
    await resolvesTo(order, 'reversed');
    expect(await t.order(order)).toMatchObject({ status: 'not_completed' });
    expect((await booksOf(order)).map(({ kind }) => kind)).toEqual(['charge', 'reversal']);
  });
});

describe('times that were stamped before the clock went back an hour', () => {
  const back = (order: string) =>
    t.knex.raw(
      `with a as (
         update attempt set last_send_at = last_send_at + interval '1 hour' where order_id = :order
       )
       update orders set lease_until = lease_until + interval '1 hour', approve_until = approve_until + interval '1 hour'
       where order_id = :order`,
      { order },
    );
  async function inDoubt(...rules: object[]): Promise<string> {
    await t.script('bank_a', { rules: [{ behaviour: 'reset_after_accepting', operation: 'charge' }, ...rules] });
    const { order } = await t.pay();
    expect(await t.order(order)).toMatchObject({ status: 'in_doubt' });
    return order;
  }

  test('a lease: the order is resolved at once', async () => {
    const order = await inDoubt();
    await back(order);
    await runOnce(t.core);
    expect(await t.order(order)).toMatchObject({ status: 'approved' });
  });

  test('a lease: the resolver that runs for ever looks there too', async () => {
    const order = await inDoubt();
    await back(order);
    const resolver = runResolver(t.core);
    await waitFor('the approval', async () => (await t.order(order))['status'] === 'approved');
    await resolver.close();
  });

  test('a lease that our own clock may have given is kept', async () => {
    const order = await inDoubt();
    await t.knex.raw("update orders set lease_until = now() + interval '2 minutes' where order_id = ?", [order]);
    await runOnce(t.core);
    expect(await t.order(order)).toMatchObject({ status: 'in_doubt' });
  });

  test('approve_until: an order that nobody says anything clear about is given back after its tries', async () => {
    const order = await inDoubt(inquiry('server_error'));
    await back(order);
    await resolvesTo(order, 'reversed');
    expect(await t.order(order)).toMatchObject({ status: 'reversed', answer_status: 'not_completed' });
  });

  test('the last send: "not found" is final a deadline and a horizon later, not an hour', async () => {
    const order = await inDoubt();
    await back(order);
    await runOnce(t.core);
    const { rows } = await t.knex.raw(
      "select last_send_at <= now() + interval '1 minute' as capped from attempt where order_id = ?",
      [order],
    );
    expect(rows).toEqual([{ capped: true }]);
  });

  test('what our own policy keeps away for longer is put back for a minute at most', async () => {
    const quota = { mode: 'enforce', scope: 'instance', perSecond: 0.001, burst: 1 } as const;
    const core = await t.instance('test-quota', { channels: t.channelsTo({}, { ...defaultRules, quota }) });
    const orders = [await inDoubt(inquiry('server_error')), await inDoubt(inquiry('server_error'))];
    for (const order of orders) await look(order, core);
    const { rows } = await t.knex.raw(
      "select lease_until <= now() + interval '1 minute' as soon from orders where order_id = any(?)",
      [orders],
    );
    expect(rows).toEqual([{ soon: true }, { soon: true }]);
  });
});
