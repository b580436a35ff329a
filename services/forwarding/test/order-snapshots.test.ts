// Where the journal lacks an order's events, the order itself stands in for them: nothing is lost silently.
import { uuidv7 } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource, type TestSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber, type TestSubscriber } from './support/subscriber.ts';

const DAY_MS = 86_400_000;
const today = Math.floor(Date.now() / DAY_MS) * DAY_MS;
const yesterday = today - DAY_MS;
const LIMIT_MS = 60_000;
const merchant = uuidv7(today);

const nameOf = (day: number) => new Date(day).toISOString().slice(0, 10).replaceAll('-', '');
const lowest = (ms: number) => {
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
};

/** The journal's partitions are there; those of orders and attempts are not made by other tests. */
async function startShop(label: string): Promise<TestSource> {
  const source = await started(startSource(label));
  for (const table of ['orders', 'attempt'])
    for (const day of [yesterday, today])
      await source.query(
        `create table ${table}_${nameOf(day)} partition of ${table} for values from ('${lowest(day)}') to ('${lowest(day + DAY_MS)}')`,
      );
  return source;
}

/** New orders of that day, each accepted; resolves to their ids. */
async function sell(source: TestSource, day: number, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, index) => uuidv7(day + 3_600_000 + index));
  await source.query(
    `with sold as (
       insert into orders (merchant_id, order_id, terminal_id, livemode, status, version, amount, currency, method, channel,
         batch_number, trace_number, merchant_reference, instrument_fingerprint, transaction_time, accepted_at,
         approve_until, voidable_until, business_date, attempt_no, lease_owner, lease_epoch, lease_until)
       select $1, id, $1, false, 'processing', 1, 1250, 'EUR', 'card', 'bank_a', '000001', '000001', 'version 1', 'x', now(),
         now(), now(), now(), now(), 1, 'test', 1, now()
       from unnest($2::uuid[]) as id returning orders as o
     ), sent as (
       insert into attempt (merchant_id, order_id, attempt_no, state, channel, bank_reference, bank_merchant_number,
         bank_terminal_number, amount, currency, livemode, last_send_at)
       select $1, id, 1, 'sent', 'bank_a', 'R', 'M', 'T', 1250, 'EUR', false, now()
       from unnest($2::uuid[]) as id returning attempt as a
     )
     insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
     select $1, (o).order_id, 1, 'accepted', false, 1, order_state(o, a)
     from sold join sent on (a).order_id = (o).order_id`,
    [merchant, ids],
  );
  return ids;
}

/** The next version of each. */
async function change(source: TestSource, ids: readonly string[]): Promise<void> {
  await source.query(
    `with moved as (
       update orders set version = version + 1, status = 'approved', merchant_reference = 'version ' || version + 1
       where order_id = any($1::uuid[]) returning orders as o
     )
     insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
     select (o).merchant_id, (o).order_id, (o).version, 'approved', false, 1, order_state(o, a)
     from moved join attempt a on a.merchant_id = (o).merchant_id and a.order_id = (o).order_id`,
    [ids],
  );
}

/** As only a restore, or somebody's hand, can do it. */
async function lose(source: TestSource, where: string, values: unknown[] = []): Promise<void> {
  await source.query('alter table order_event disable trigger all');
  await source.query(`delete from order_event where ${where}`, values);
  await source.query('alter table order_event enable trigger all');
}

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

test('a rebuild after a day of the journal was lost: its orders come as snapshots, others with their whole story', async () => {
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

test('holes in the journal: in the middle, at the end, and everything; live events meanwhile take effect once', async () => {
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

test('a reader that is behind the lost day is given what it lacks of it, and nothing else', async () => {
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

test('an order that went with its journal leaves its gap open, and others go on', async () => {
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
