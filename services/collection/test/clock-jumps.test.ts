// The database's clock is set an hour back or ahead while payments are under way. Nobody waits for an hour, nothing counts as
// long ago that was not, and every charge still ends where its order stands.
import { type DatabaseClock, type Knex, openDatabase, startDatabaseClock } from '@ballast/database';
import { startProxy, type TestProxy, waitFor } from '@ballast/database/testing';
import { defaultRules } from '@ballast/resilience';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { PaymentsCore } from '../src/payments/core.ts';
import { runOnce } from '../src/workers/resolver.ts';
import { openTestPayments, type TestPayments } from './support/open-payments.ts';

let t: TestPayments;
/** Every connection that is opened from now on reads the clock that `jump` sets. */
let knex: Knex;
let proxy: TestProxy;
const clocks: DatabaseClock[] = [];

beforeAll(async () => {
  t = await openTestPayments({ label: 'clock jumps', horizonMs: 30_000 });
  await t.knex.raw(`
    create schema jumping;
    create table jumping.clock (ahead interval not null);
    insert into jumping.clock values ('0');
    create function jumping.clock_timestamp() returns timestamptz language sql volatile
      as 'select pg_catalog.clock_timestamp() + ahead from jumping.clock';
    create function jumping.now() returns timestamptz language sql stable
      as 'select pg_catalog.now() + ahead from jumping.clock'`);
  await t.knex.raw('alter database ?? set search_path = jumping, pg_catalog, public', [
    new URL(t.databaseUrl).pathname.slice(1),
  ]);
  knex = openDatabase({ url: t.databaseUrl, applicationName: 'test jumping', poolMax: 4 });
  const { hostname: host, port } = new URL(t.bankUrl('bank_a'));
  proxy = await startProxy({ host, port: Number(port) });
});
afterAll(async () => {
  for (const clock of clocks) clock.close();
  await knex.destroy();
  await t.close();
  await proxy.close();
});
beforeEach(async () => {
  await jump('0');
  proxy.release();
  await t.heal('bank_a');
});

const jump = (to: string) => t.knex.raw('update jumping.clock set ahead = ?', [to]);
async function instance(owner: string, channels = t.channelsTo({})): Promise<PaymentsCore> {
  const clock = await startDatabaseClock(knex);
  clocks.push(clock);
  return t.instance(owner, { knex, clock, channels });
}
const chargesOf = async (order: string) => {
  const references = (await t.attempts(order)).map((attempt) => attempt['bank_reference']);
  return t.books().filter(({ reference }) => references.includes(reference));
};
const charge = (behaviour: string, extra = {}) => ({ rules: [{ behaviour, operation: 'charge', ...extra }] });

test('an hour back: what is in doubt is asked about at once, by whoever looks', async () => {
  const core = await instance('test-back');
  await t.script('bank_a', charge('timeout_after_accepting'));
  const { order } = await t.pay(t.command(), core);
  await jump('-1 hour');
  await runOnce(core);
  expect(await t.order(order)).toMatchObject({ status: 'approved' });
});

test('an hour ahead, before a charge that is held up has come to the bank: "not found" does not end its reversal', async () => {
  const core = await instance('test-ahead');
  await t.script('bank_a', charge('accepts_late', { delay_ms: 2_000 }));
  const { order } = await t.pay(t.command(), core);
  await jump('1 hour');
  await waitFor('the end', async () => {
    await runOnce(core);
    return (await t.order(order))['work'] === null;
  });
  expect(await t.order(order)).toMatchObject({ status: 'reversed', answer_status: 'not_completed' });
  expect((await chargesOf(order)).map(({ kind }) => kind)).toEqual(['charge', 'reversal']);
});

test('an hour ahead, while the bank thinks: its approval comes in time for nobody, and is given back', async () => {
  const rules = { ...defaultRules, timeout: { mode: 'fixed', ms: 20_000 } as const };
  const core = await instance('test-held', t.channelsTo({ bank_a: `http://127.0.0.1:${proxy.port}` }, rules));
  proxy.holdAnswers();
  const command = t.command({}, { deadlineMs: 30_000 });
  const paying = t.pay(command, core);
  const order = await waitFor('the charge', async () => {
    const { rows } = await t.knex.raw('select order_id from orders where trace_number = ?', [
      command.request.trace_number,
    ]);
    const id: string | undefined = rows[0]?.order_id;
    return id !== undefined && (await chargesOf(id)).length === 1 ? id : undefined;
  });
  await jump('1 hour');
  const other = await instance('test-other');
  const unheard = ['inquiry', 'reversal'].map((operation) => ({ behaviour: 'not_found', operation }));
  await t.script('bank_a', { rules: unheard });
  await waitFor('the order is given up', async () => {
    await runOnce(other);
    return (await t.order(order))['answer_status'] === 'not_completed';
  });
  proxy.release();
  expect(await paying).toMatchObject({ status: 201, json: { status: 'not_completed' } });
  await t.heal('bank_a');
  await waitFor('the reversal', async () => {
    await runOnce(other);
    return (await t.attempts(order))[0]?.['state'] === 'reversed';
  });
  expect((await chargesOf(order)).map(({ kind }) => kind)).toEqual(['charge', 'reversal']);
});
