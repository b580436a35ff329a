// A rebuild from zero: readers see a whole model at every moment, and in the end the fold of the journal.
import { BEFORE_EVERYTHING } from '@ballast/contracts';
import { openDatabase } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import { readWatermarks } from '@ballast/events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { approvedOrder, event, merchantA } from './support/events.ts';
import { openJournal } from './support/journal.ts';
import { startQuery, type TestQuery } from './support/query.ts';

let query: TestQuery;
let journal: Awaited<ReturnType<typeof openJournal>>;
let key: string;

beforeEach(async () => {
  journal = await openJournal();
  query = await startQuery('rebuild', { forwardingUrl: journal.url });
  key = (await query.issueKey(merchantA)).api_key;
});
afterEach(async () => {
  await query.stop();
  await journal.close();
});

const ids = async () => {
  const { body, headers } = await query.get('/v1/orders?limit=200', key);
  const rows = body.data.map((order: { id: string; status: string }) => `${order.id} ${order.status}`);
  return { rows: rows.sort(), rebuilding: headers.get('ballast-rebuilding') };
};
const schemas = async () => {
  const { rows } = await query.knex.raw(`select nspname from pg_namespace where nspname like 'read_model%' order by 1`);
  return rows.map(({ nspname }: { nspname: string }) => nspname);
};
/** Keeps what the statement locks until it is told to let go. */
async function hold(statement: string): Promise<() => Promise<void>> {
  const patient = { statementTimeoutMs: 60_000, transactionTimeoutMs: 60_000 };
  const knex = openDatabase({ url: query.databaseUrl, applicationName: 'holds locks', poolMax: 1, ...patient });
  const trx = await knex.transaction();
  await trx.raw(statement);
  return async () => {
    await trx.rollback();
    await knex.destroy();
  };
}
const named = (orders: { order_id: string }[], status = 'approved') =>
  orders.map(({ order_id }) => `ord_${order_id} ${status}`).sort();

test('what was corrupted is right again; readers never see less than a whole model', async () => {
  const orders = Array.from({ length: 30 }, () => approvedOrder());
  for (const order of orders) await journal.write(query, ...order);
  const first = orders.map(([accepted]) => accepted);
  // Corrupted by somebody's hand: a row lost, a row changed, a row that no event explains.
  await query.knex.raw('delete from merchant_order where order_id = ?', [first[0]?.order_id ?? '']);
  await query.knex.raw(`update merchant_order set status = 'declined' where order_id = ?`, [first[1]?.order_id ?? '']);
  const corrupted = await ids();
  expect(corrupted).not.toMatchObject({ rows: named(first) });
  expect(corrupted.rebuilding).toBeNull();

  const started = await query.admin('POST', '/admin/rebuild');
  expect(started).toMatchObject({ status: 202, body: { state: 'preparing' } });
  expect((await query.admin('POST', '/admin/rebuild')).body.id).toBe(started.body.id);
  await query.rebuilds.runOnce(); // makes the next model
  await query.rebuilds.runOnce(); // asks for the replay
  expect(journal.asked()).toBe(1);
  expect(await ids()).toEqual({ rows: corrupted.rows, rebuilding: 'true' });

  // Payments go on meanwhile: both models take them.
  const meanwhile = approvedOrder();
  await journal.write(query, ...meanwhile);
  expect((await ids()).rows).toContain(`ord_${meanwhile[0].order_id} approved`);
  await query.rebuilds.runOnce();
  expect((await query.admin('GET', '/admin/rebuild')).body).toMatchObject({ state: 'building' });

  await journal.replay(query);
  await query.rebuilds.runOnce();
  expect((await query.admin('GET', '/admin/rebuild')).body).toMatchObject({ state: 'done' });
  expect(await ids()).toEqual({ rows: named([...first, meanwhile[0]]), rebuilding: null });

  // And on it goes, in the new model, from where the replay ended.
  const reversing = event(3, { orderId: meanwhile[0].order_id, type: 'reversing', state: { status: 'reversing' } });
  expect(await query.deliver([...meanwhile, reversing])).toMatchObject({ applied: 1, repeated: 2, gaps: [] });
  expect((await query.get(`/v1/orders/ord_${meanwhile[0].order_id}`, key)).body).toMatchObject({
    status: 'reversing',
    version: 3,
  });
  const { rows } = await query.knex.raw(`select nspname from pg_namespace where nspname like 'read_model%'`);
  expect(rows).toEqual([{ nspname: 'read_model' }]);
});

test('a second rebuild is as good as the first', async () => {
  const order = approvedOrder();
  await journal.write(query, ...order);
  for (let round = 1; round <= 2; round++) {
    await query.admin('POST', '/admin/rebuild');
    await query.rebuilds.runOnce();
    await query.rebuilds.runOnce();
    expect(journal.asked()).toBe(round);
    await query.rebuilds.runOnce(); // not replayed yet: nothing is swapped
    expect((await query.admin('GET', '/admin/rebuild')).body.state).toBe('building');
    await journal.replay(query);
    await query.rebuilds.runOnce();
    expect((await query.admin('GET', '/admin/rebuild')).body.state).toBe('done');
    expect((await ids()).rows).toEqual(named([order[0]]));
  }
});

test('deliveries that overlap the start and the swap reach the model that stays', async () => {
  const sent = Array.from({ length: 60 }, () => approvedOrder());
  await query.admin('POST', '/admin/rebuild');
  const deliveries = (async () => {
    for (const order of sent) await journal.write(query, ...order);
  })();
  await query.rebuilds.runOnce();
  await query.rebuilds.runOnce();
  while (journal.asked() === 0) await query.rebuilds.runOnce();
  await journal.replay(query);
  await query.rebuilds.runOnce();
  await deliveries;
  expect((await query.admin('GET', '/admin/rebuild')).body.state).toBe('done');
  expect((await ids()).rows).toEqual(named(sent.map(([accepted]) => accepted)));
});

test('an order that waits for an event keeps the next model out', async () => {
  const [accepted, approved] = approvedOrder();
  await journal.write(query, accepted, approved);
  await query.admin('POST', '/admin/rebuild');
  await query.rebuilds.runOnce();
  await query.rebuilds.runOnce();
  await journal.replay(query);
  const early = event(4, { orderId: accepted.order_id, type: 'reversed', state: { status: 'reversed' } });
  expect(await query.deliver([early])).toMatchObject({ held: 1 }); // version 3 is still to come
  await query.rebuilds.runOnce();
  const { body } = await query.admin('GET', '/admin/rebuild');
  expect(body).toMatchObject({ state: 'building' });
  expect(body.detail).toContain('1 orders wait for an event');

  await journal.write(
    query,
    event(3, { orderId: accepted.order_id, type: 'reversing', state: { status: 'reversing' } }),
  );
  await query.rebuilds.runOnce();
  expect((await query.admin('GET', '/admin/rebuild')).body.state).toBe('done');
  expect((await ids()).rows).toEqual(named([accepted], 'reversed'));
});

test('a cancelled rebuild leaves the present model alone', async () => {
  const order = approvedOrder();
  await journal.write(query, ...order);
  await query.admin('POST', '/admin/rebuild');
  await query.rebuilds.runOnce();
  await query.rebuilds.runOnce();
  expect((await query.admin('DELETE', '/admin/rebuild')).status).toBe(204);
  expect((await query.admin('DELETE', '/admin/rebuild')).status).toBe(404);
  const after = approvedOrder();
  await journal.write(query, ...after);
  expect(await ids()).toEqual({ rows: named([order[0], after[0]]), rebuilding: null });
  const { rows } = await query.knex.raw(`select nspname from pg_namespace where nspname like 'read_model%'`);
  expect(rows).toEqual([{ nspname: 'read_model' }]);
});

test('what a swap could not drop does not keep the next rebuild from its name', async () => {
  const order = approvedOrder();
  await journal.write(query, ...order);
  await query.admin('POST', '/admin/rebuild');
  await query.rebuilds.runOnce();
  await query.rebuilds.runOnce();
  await journal.replay(query);
  // Somebody reads what the swap is about to leave, and keeps its clean-up out.
  const release = await hold('select from read_model.consumer_replaced');
  const swap = query.rebuilds.runOnce();
  swap.catch(() => undefined); // awaited below
  await waitFor('the clean-up to wait, and to be cut', async () => {
    const { rows } = await query.knex.raw(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where application_name = 'query maintenance' and datname = current_database() and wait_event_type = 'Lock'`,
    );
    return rows.length > 0;
  });
  await expect(swap).rejects.toThrow();
  await release();
  expect(await schemas()).toEqual(['read_model', 'read_model_old']);

  // As an instance that comes back does it, at once; and one that starts a rebuild before that.
  await query.rebuilds.runOnce();
  expect(await schemas()).toEqual(['read_model']);
  await query.knex.raw('create schema read_model_old');
  await query.admin('POST', '/admin/rebuild');
  await query.rebuilds.runOnce();
  await query.rebuilds.runOnce();
  await journal.replay(query);
  await query.rebuilds.runOnce();
  expect((await query.admin('GET', '/admin/rebuild')).body.state).toBe('done');
  expect((await ids()).rows).toEqual(named([order[0]]));
});

test('what is parked in both models is seen, and tried again in both', async () => {
  const [accepted, approved] = approvedOrder();
  await query.admin('POST', '/admin/rebuild');
  await query.rebuilds.runOnce();
  await query.rebuilds.runOnce();
  const models = ['read_model', 'read_model_next'];
  // Both refuse it, as a deployed mistake would.
  for (const model of models)
    await query.knex.raw(`alter table ${model}.order_story add constraint mistake check (version < 2)`);
  await journal.write(query, accepted);
  expect(await query.deliver([approved])).toMatchObject({ parked: 1 });
  const parkedIn = async (model: string) =>
    (await query.knex.raw(`select count(*)::int as count from ${model}.consumer_parked`)).rows[0].count;
  expect(await Promise.all(models.map(parkedIn))).toEqual([1, 1]);
  expect((await query.admin('GET', '/admin/parked')).body.data).toHaveLength(1);

  for (const model of models) await query.knex.raw(`alter table ${model}.order_story drop constraint mistake`);
  const retried = await query.admin('POST', `/admin/parked/ord_${accepted.order_id}/retry`);
  expect(retried).toMatchObject({ status: 200, body: { applied: 2, parked: 0 } });
  expect(await Promise.all(models.map(parkedIn))).toEqual([0, 0]);
  await journal.replay(query);
  await query.rebuilds.runOnce();
  expect((await query.admin('GET', '/admin/rebuild')).body.state).toBe('done');
  expect((await ids()).rows).toEqual(named([accepted]));
});

test('a raise whose orders cannot be marked in the present model keeps no rebuild from being built', async () => {
  const mark = (value: string, after: string | null, generation: number) => {
    const replaced = generation === 1 ? [] : [{ generation, from: BEFORE_EVERYTHING }];
    const run = '0199a000-0000-7000-8000-000000000001';
    return {
      kind: 'watermark',
      source: 'collection',
      node: 'collection',
      since: null,
      generation,
      value,
      after,
      run,
      replaced,
    };
  };
  const order = approvedOrder();
  await query.deliver([mark(BEFORE_EVERYTHING, null, 1)]);
  await journal.write(query, ...order);
  const release = await hold('select from read_model.consumer_position for update');
  await query.admin('POST', '/admin/rebuild');
  await query.rebuilds.runOnce();
  await query.rebuilds.runOnce();
  await query.deliver([mark('2026-11-24T20:00:01.000000Z', BEFORE_EVERYTHING, 2)]);
  expect(await readWatermarks(query.knex)).toEqual([]);
  const again = approvedOrder({ generation: 2 });
  await journal.write(query, ...again);
  await journal.replay(query);
  await release();
  await waitFor('the rebuild to be done', async () => {
    await query.rebuilds.runOnce();
    return (await query.admin('GET', '/admin/rebuild')).body.state === 'done';
  });
  expect((await ids()).rows).toEqual(named([order[0], again[0]]));
});
