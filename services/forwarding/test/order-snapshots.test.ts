// Where the journal lacks an order's events, the order itself stands in for them: nothing is lost silently.
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { change, lose, lowest, merchant, nameOf, sell, startShop, today, yesterday } from './support/shop.ts';
import type { TestSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber, type TestSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 60_000;

/** What took effect of an order, in its order. */
async function effects(subscriber: TestSubscriber, id: string): Promise<number[]> {
  const { rows } = await subscriber.knex.raw<{ rows: { version: number }[] }>(
    'select version from effect where order_id = ? order by n',
    [id],
  );
  return rows.map(({ version }) => version);
}

/** Orders whose last effect is not what the orders table says. */
async function differences(source: TestSource, subscriber: TestSubscriber): Promise<string[]> {
  const { rows: orders } = await source.query('select order_id, version, merchant_reference as text from orders');
  const { rows: last } = await subscriber.knex.raw<{ rows: { order_id: string; version: number; text: string }[] }>(
    'select distinct on (order_id) order_id, version, text from effect order by order_id, n desc',
  );
  const known = new Map(last.map((row) => [row.order_id, `${row.version} ${row.text}`]));
  return orders
    .filter(({ order_id, version, text }) => known.get(order_id) !== `${version} ${text}`)
    .map(({ order_id, version }) => `${order_id}: ${known.get(order_id)} instead of ${version}`);
}

async function untilEqual(source: TestSource, subscriber: TestSubscriber): Promise<void> {
  await waitFor(
    'every order to be as the source has it',
    async () => (await differences(source, subscriber)).length === 0,
    LIMIT_MS,
  );
}

async function rebuild(subscriber: TestSubscriber, forwarder: Awaited<ReturnType<typeof startForwarder>>) {
  await subscriber.knex.raw('truncate effect, consumer_position, consumer_held, consumer_parked');
  await forwarder.post(`/admin/subscribers/${subscriber.name}/rebuild`);
}

test.concurrent('a rebuild after a day of the journal was lost: its orders come as snapshots, others with their whole story', async () => {
  const source = await startShop('lost_day');
  const subscriber = await started(startSubscriber('query'));
  const old = await sell(source, yesterday, 2_500);
  const young = await sell(source, today, 50);
  await change(source, [...old, ...young]);
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  expect(await effects(subscriber, old[0] ?? '')).toEqual([1, 2]);

  await source.query(`drop table order_event_${nameOf(yesterday)}`);
  await rebuild(subscriber, forwarder);
  await untilEqual(source, subscriber);
  expect(await effects(subscriber, old[0] ?? '')).toEqual([2]);
  expect(await effects(subscriber, young[0] ?? '')).toEqual([1, 2]);
  await forwarder.live();

  // What comes afterwards goes on from the snapshot, once.
  await source.query(
    `create table order_event_${nameOf(yesterday)} partition of order_event for values from ('${lowest(yesterday)}') to ('${lowest(today)}')`,
  );
  await change(source, old.slice(0, 10));
  await untilEqual(source, subscriber);
  expect(await effects(subscriber, old[0] ?? '')).toEqual([2, 3]);
}, 120_000);

test.concurrent('holes in the journal: in the middle, at the end, and everything; live events meanwhile take effect once', async () => {
  const source = await startShop('holes');
  const subscriber = await started(startSubscriber('query'));
  const ids = await sell(source, today, 40);
  for (let version = 2; version <= 4; version++) await change(source, ids);
  const [whole, middle, end, nothing] = [ids.slice(0, 10), ids.slice(10, 20), ids.slice(20, 30), ids.slice(30)];
  await lose(source, 'order_id = any($1::uuid[]) and version = 2', [middle]);
  await lose(source, 'order_id = any($1::uuid[]) and version = 4', [end]);
  await lose(source, 'order_id = any($1::uuid[])', [nothing]);

  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  const first = ids.filter((_, index) => index % 2 === 0);
  await change(source, first); // among the snapshots
  await forwarder.live();
  await untilEqual(source, subscriber);
  await change(source, ids);
  await untilEqual(source, subscriber);

  for (const id of ids) {
    const versions = await effects(subscriber, id);
    expect(versions, id).toEqual([...new Set(versions)].sort((a, b) => a - b));
  }
  for (const id of whole.filter((one) => first.includes(one)))
    expect(await effects(subscriber, id)).toEqual([1, 2, 3, 4, 5, 6]);
  for (const id of middle) expect((await effects(subscriber, id))[0]).toBe(1);
  const { rows } = await subscriber.knex.raw('select * from consumer_held');
  expect(rows).toEqual([]);
}, 120_000);

test.concurrent('a reader that is behind the lost day is given what it lacks of it, and nothing else', async () => {
  const source = await startShop('behind');
  const subscriber = await started(startSubscriber('query'));
  const known = await sell(source, yesterday, 300);
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  const seen = async () => {
    const { rows } = await source.query(
      `select 1 from journal_reader where not exists (select from order_event where not pg_visible_in_snapshot(xid::text::xid8, has))`,
    );
    return rows.length === 1;
  };
  await waitFor('its position to be past them', seen, LIMIT_MS);
  await forwarder.kill('SIGTERM');

  await change(source, known.slice(0, 20));
  const unknown = await sell(source, yesterday, 30);
  await source.query('select pg_drop_replication_slot($1)', [source.slot]);
  await source.query(`drop table order_event_${nameOf(yesterday)}`);
  await forwarder.start();
  await forwarder.live();
  await untilEqual(source, subscriber);
  expect(await effects(subscriber, unknown[0] ?? '')).toEqual([1]);
  expect(await effects(subscriber, known[0] ?? '')).toEqual([1, 2]);
  expect(await effects(subscriber, known[299] ?? '')).toEqual([1]);
  const [feed] = (await forwarder.list()).subscribers;
  expect(feed?.delivered_events).toBeLessThan(300);
}, 120_000);

test.concurrent('an order that went with its journal leaves its gap open, and others go on', async () => {
  const source = await startShop('gone');
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  const [gone = '', here = ''] = await sell(source, today, 2);
  await untilEqual(source, subscriber);
  await subscriber.knex.raw('truncate effect, consumer_position');
  await lose(source, 'version = 1');
  await source.query('delete from orders where order_id = $1', [gone]);
  await source.query(
    `insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
     select $1, $2::uuid, 2, 'approved', false, 1, jsonb_set(jsonb_set(order_state(o, null), '{order_id}', to_jsonb($2::uuid)),
       '{version}', '2') from orders o where order_id = $3`,
    [merchant, gone, here],
  );
  await change(source, [here]);
  await untilEqual(source, subscriber);
  expect(await effects(subscriber, here)).toEqual([2]);
  expect(await effects(subscriber, gone)).toEqual([]);
}, 60_000);

test.concurrent('a source that does not say what a snapshot is: its gaps stay open, and others go on', async () => {
  const source = await startShop('no_view');
  await source.query('drop view order_snapshot');
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  const [lacking = '', whole = ''] = await sell(source, today, 2);
  await untilEqual(source, subscriber);
  await subscriber.knex.raw('truncate effect, consumer_position');
  await lose(source, 'order_id = $1', [lacking]);
  await change(source, [lacking, whole]);
  const took = async () => (await effects(subscriber, whole)).includes(2);
  await waitFor('the other to go on', took, LIMIT_MS);
  expect(await effects(subscriber, lacking)).toEqual([]);
}, 90_000);
