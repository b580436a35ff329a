import type { OrderEvent } from '@ballast/contracts';
import { type Knex, openDatabase } from '@ballast/database';
import { freshDatabase, type TestDatabase } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Consumer, type ConsumerOptions, migrateConsumer, openConsumer } from '../src/index.ts';
import { merchantId, newOrderId, orderEvent, second, watermark } from './support/events.ts';

let database: TestDatabase;
let knex: Knex;
const poison = new Set<string>();
const logged: object[] = [];
const logger = {
  warn: (fields: object) => void logged.push(fields),
  error: (fields: object) => void logged.push(fields),
};

beforeAll(async () => {
  database = await freshDatabase('consumer');
  knex = openDatabase({ url: database.url, applicationName: 'consumer test', poolMax: 4 });
  await migrateConsumer(knex);
  await knex.raw(
    'create table effect (n bigserial, order_id uuid not null, version int not null, generation int not null)',
  );
});

afterAll(async () => {
  await knex.destroy();
  await database.drop();
});

beforeEach(async () => {
  poison.clear();
  logged.length = 0;
  await knex.raw(
    'truncate effect, consumer_position, consumer_held, consumer_parked, consumer_watermark, consumer_stream',
  );
});

/** The effect is a row per event, without any key: a second effect would be seen. */
async function apply(trx: Knex.Transaction, events: readonly OrderEvent[]): Promise<void> {
  const bad = events.find((event) => poison.has(event.id));
  await trx.raw(
    `insert into effect (order_id, version, generation)
     select order_id, version, case when order_id = ? then 1 / 0 else generation end
     from unnest(?::uuid[], ?::int[], ?::int[]) with ordinality as t(order_id, version, generation, n) order by n`,
    [
      bad?.order_id ?? null,
      events.map((event) => event.order_id),
      events.map((event) => event.version),
      events.map((event) => event.generation),
    ],
  );
}

function open(extra: Partial<ConsumerOptions> = {}): Consumer {
  return openConsumer({ name: 'test', knex, logger, apply, ...extra });
}

async function effects(orderId: string): Promise<number[]> {
  const { rows } = await knex.raw('select version from effect where order_id = ? order by n', [orderId]);
  return rows.map((row: { version: number }) => row.version);
}

async function waitingForLocks(): Promise<number> {
  const { rows } = await knex.raw(
    `select count(*)::int as count from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
  );
  return rows[0].count;
}

test('each event takes effect once, however often it is delivered', async () => {
  const consumer = open();
  const order = newOrderId();
  const events = [1, 2, 3].map((version) => orderEvent(order, version));
  expect(await consumer.deliver(events)).toEqual({
    applied: 3,
    repeated: 0,
    held: 0,
    parked: 0,
    gaps: [],
    progress: [],
  });
  expect(await consumer.deliver([...events, ...events])).toMatchObject({ applied: 0, repeated: 6 });
  expect(await effects(order)).toEqual([1, 2, 3]);
});

test('two consumers given the same deliveries at once have one effect each', async () => {
  const [one, two] = [open(), open()];
  const orders = Array.from({ length: 40 }, newOrderId);
  for (let version = 1; version <= 5; version++) {
    const batch = orders.map((order) => orderEvent(order, version));
    await Promise.all([one.deliver(batch), two.deliver([...batch].reverse())]);
  }
  for (const order of orders) expect(await effects(order)).toEqual([1, 2, 3, 4, 5]);
});

test('an event held by another consumer meanwhile is brought along by what fills its gap', async () => {
  const order = newOrderId();
  await open().deliver([orderEvent(order, 1)]);
  // Both are kept at their first write, the early one in front: it has read and so has the other, neither knows of it.
  const gate = await knex.transaction();
  await gate.raw('select from consumer_position where order_id = ? for update', [order]);
  const early = open().deliver([orderEvent(order, 3)]);
  await expect.poll(waitingForLocks).toBe(1);
  const fills = open().deliver([orderEvent(order, 2)]);
  await expect.poll(waitingForLocks).toBe(2);
  await gate.rollback();
  await Promise.all([early, fills]);
  expect(await effects(order)).toEqual([1, 2, 3]);
  expect((await knex.raw('select * from consumer_held')).rows).toEqual([]);
});

test('an event that is not early any more when it is to be held leaves no wait behind', async () => {
  const order = newOrderId();
  await open().deliver([orderEvent(order, 1)]);
  const gate = await knex.transaction();
  await gate.raw('select from consumer_position where order_id = ? for update', [order]);
  const all = open().deliver([orderEvent(order, 2), orderEvent(order, 3)]);
  await expect.poll(waitingForLocks).toBe(1);
  const early = open().deliver([orderEvent(order, 3)]);
  await expect.poll(waitingForLocks).toBe(2);
  await gate.rollback();
  expect(await all).toMatchObject({ applied: 2 });
  expect(await early).toMatchObject({ repeated: 1, held: 0, gaps: [] });
  expect((await knex.raw('select version, waits_for from consumer_position')).rows).toEqual([
    { version: 3, waits_for: null },
  ]);
});

test('a snapshot stands for what is missing: the order goes on from it, and nothing takes effect twice', async () => {
  const consumer = open();
  const order = newOrderId();
  await consumer.deliver([orderEvent(order, 1)]);
  expect((await consumer.deliver([orderEvent(order, 4), orderEvent(order, 6)])).gaps).toHaveLength(1);
  const snapshot = orderEvent(order, 5, { type: 'snapshot' });
  expect(await consumer.deliver([snapshot])).toMatchObject({ applied: 2, gaps: [] });
  expect(await consumer.deliver([snapshot, orderEvent(order, 2), orderEvent(order, 7)])).toMatchObject({
    applied: 1,
    repeated: 2,
  });
  expect(await effects(order)).toEqual([1, 5, 6, 7]);
  expect((await knex.raw('select * from consumer_held')).rows).toEqual([]);
});

test('an early event waits for its gap, is reported, and goes on behind what fills it', async () => {
  const consumer = open();
  const [late, other] = [newOrderId(), newOrderId()];
  await consumer.deliver([orderEvent(late, 1)]);
  const reply = await consumer.deliver([orderEvent(late, 4), orderEvent(other, 1), orderEvent(late, 5)]);
  expect(reply).toMatchObject({ applied: 1, held: 2 });
  expect(reply.gaps).toEqual([{ merchant_id: merchantId, order_id: late, after_version: 1, before_version: 4 }]);
  expect(await consumer.deliver([orderEvent(late, 2)])).toMatchObject({ applied: 1, gaps: [] });
  expect(await consumer.deliver([watermark(second(0))])).toMatchObject({
    gaps: reply.gaps.map((gap) => ({ ...gap, after_version: 2 })),
  });
  expect(await consumer.deliver([orderEvent(late, 3)])).toMatchObject({ applied: 3 });
  expect(await effects(late)).toEqual([1, 2, 3, 4, 5]);
  expect((await knex.raw('select * from consumer_held')).rows).toEqual([]);
});

test('an order whose first event is missing reports the gap from zero', async () => {
  const order = newOrderId();
  const reply = await open().deliver([orderEvent(order, 2)]);
  expect(reply.gaps).toEqual([{ merchant_id: merchantId, order_id: order, after_version: 0, before_version: 2 }]);
});

test('a poison event is parked alone: its order waits, all others flow', async () => {
  const consumer = open();
  const orders = Array.from({ length: 50 }, newOrderId);
  const bad = orders[17] ?? '';
  poison.add(orderEvent(bad, 2).id);
  const reply = await consumer.deliver(
    [1, 2, 3].flatMap((version) => orders.map((order) => orderEvent(order, version))),
  );
  expect(reply).toMatchObject({ applied: 148, parked: 1, held: 1, gaps: [] });
  for (const order of orders) expect(await effects(order)).toEqual(order === bad ? [1] : [1, 2, 3]);
  expect(await consumer.parked(10)).toMatchObject([
    { order_id: bad, version: 2, reason: '22012: division by zero' }, // no statement, and no value of it
  ]);
  expect(logged).toMatchObject([{ order_id: bad, version: 2, parked: 1, reason: '22012: division by zero' }]);

  await consumer.deliver([orderEvent(bad, 4)]);
  expect(await consumer.retryParked(bad)).toMatchObject({ parked: 1 });
  expect(await consumer.parked(10)).toMatchObject([{ tries: 2 }]);
  poison.clear();
  await consumer.retryParked(bad);
  expect(await effects(bad)).toEqual([1, 2, 3, 4]);
  expect(await consumer.parked(10)).toEqual([]);
});

test('a held event that is poison is parked itself, not the one that fills its gap', async () => {
  const consumer = open();
  const order = newOrderId();
  poison.add(orderEvent(order, 2).id);
  await consumer.deliver([orderEvent(order, 2), orderEvent(order, 3)]);
  expect(await consumer.deliver([orderEvent(order, 1)])).toMatchObject({ applied: 1, parked: 1 });
  expect(await effects(order)).toEqual([1]);
  poison.clear();
  await consumer.retryParked(order);
  expect(await effects(order)).toEqual([1, 2, 3]);
});

test('an event that does not match the contract is parked in its place', async () => {
  const consumer = open();
  const order = newOrderId();
  const broken = { ...orderEvent(order, 2), data: { surprise: true } };
  expect(await consumer.deliver([orderEvent(order, 1), broken, orderEvent(order, 3)])).toMatchObject({
    applied: 1,
    parked: 1,
    held: 1,
  });
  expect(await consumer.parked(1)).toMatchObject([{ version: 2, reason: expect.stringContaining('contract') }]);
});

test('an event that was held and does not match the contract is parked when its turn comes', async () => {
  const consumer = open();
  const order = newOrderId();
  const broken = { ...orderEvent(order, 3), data: { surprise: true } };
  expect(await consumer.deliver([orderEvent(order, 1), broken, orderEvent(order, 4)])).toMatchObject({ held: 2 });
  expect(await consumer.deliver([orderEvent(order, 2)])).toMatchObject({ applied: 1, parked: 1 });
  expect(await effects(order)).toEqual([1, 2]);
  expect(await consumer.parked(1)).toMatchObject([{ version: 3, reason: expect.stringContaining('contract') }]);
});

test('what is no message at all refuses the delivery, and nothing of it is applied', async () => {
  const order = newOrderId();
  await expect(open().deliver([orderEvent(order, 1), { kind: 'event' }])).rejects.toMatchObject({
    code: 'invalid_request',
  });
  expect(await effects(order)).toEqual([]);
});

test('a database that is away parks nothing: the delivery fails as a whole and is sent again', async () => {
  const order = newOrderId();
  let cut = true;
  const consumer = open({
    apply: async (trx, events) => {
      if (cut) await trx.raw('select pg_terminate_backend(pg_backend_pid())');
      await apply(trx, events);
    },
  });
  await expect(consumer.deliver([orderEvent(order, 1)])).rejects.toMatchObject({ code: 'database_unavailable' });
  expect(await consumer.parked(1)).toEqual([]);
  cut = false;
  expect(await consumer.deliver([orderEvent(order, 1)])).toMatchObject({ applied: 1 });
});

test('a batch that takes longer than a transaction may is applied in parts', async () => {
  const short = { transactionTimeoutMs: 500, statementTimeoutMs: 60_000 };
  const hurried = openDatabase({ url: database.url, applicationName: 'consumer test', poolMax: 1, ...short });
  const consumer = open({
    knex: hurried,
    apply: async (trx, events) => {
      if (events.length > 2) await trx.raw('select pg_sleep(30)');
      await apply(trx, events);
    },
  });
  const orders = Array.from({ length: 5 }, newOrderId);
  expect(await consumer.deliver(orders.map((order) => orderEvent(order, 1)))).toMatchObject({ applied: 5, parked: 0 });
  await hurried.destroy();
});

test.each([
  ['a column is missing', 'update consumer_position set not_there = 1'],
  ['a right was revoked', 'set local role pg_monitor; select count(*) from effect'],
])('%s: no event is to blame, and none is parked', async (_, statement) => {
  const consumer = open({ apply: async (trx) => void (await trx.raw(statement)) });
  const delivery = [orderEvent(newOrderId(), 1), orderEvent(newOrderId(), 1)];
  await expect(consumer.deliver(delivery)).rejects.toMatchObject({ code: 'database_unavailable' });
  expect(await consumer.parked(1)).toEqual([]);
  expect(await open().deliver(delivery)).toMatchObject({ applied: 2 });
});

const withReconcile: Partial<ConsumerOptions> = {
  reconcile: async (trx, forks) => {
    for (const fork of forks)
      await trx.raw('delete from effect where order_id = ? and version between ? and ?', [
        fork.order_id,
        fork.from_version,
        fork.to_version,
      ]);
  },
};

async function toldOf(orderId: string): Promise<string[]> {
  const { rows } = await knex.raw('select version, generation from effect where order_id = ? order by n', [orderId]);
  return rows.map((row: { version: number; generation: number }) => `${row.version} of ${row.generation}`);
}

test('a fork is taken back before the newer generation is applied', async () => {
  const order = newOrderId();
  const consumer = open(withReconcile);
  await consumer.deliver([1, 2, 3].map((version) => orderEvent(order, version)));
  await consumer.deliver([orderEvent(order, 1), orderEvent(order, 2, { generation: 2 }), orderEvent(order, 3)]);
  expect(await toldOf(order)).toEqual(['1 of 1', '2 of 2']);
});

test('a newer generation whose beginning is not known waits for the whole order', async () => {
  const order = newOrderId();
  const consumer = open(withReconcile);
  await consumer.deliver([1, 2, 3, 4, 5].map((version) => orderEvent(order, version)));
  const [third, fourth] = [3, 4].map((version) => orderEvent(order, version, { generation: 2 }));
  const reply = await consumer.deliver([fourth]);
  expect(reply).toMatchObject({ applied: 0, held: 1 });
  expect(reply.gaps).toEqual([{ merchant_id: merchantId, order_id: order, after_version: 0, before_version: 5 }]);
  const fill = [orderEvent(order, 1), orderEvent(order, 2), third, fourth];
  expect(await consumer.deliver(fill)).toMatchObject({ applied: 2, repeated: 2, gaps: [] });
  expect(await toldOf(order)).toEqual(['1 of 1', '2 of 1', '3 of 2', '4 of 2']);
  expect(await consumer.deliver([orderEvent(order, 5), watermark(second(0))])).toMatchObject({
    repeated: 1,
    gaps: [],
  });
  expect((await knex.raw('select * from consumer_held')).rows).toEqual([]);
});

test('a held event outlives the late one that it replaced, and asks for the whole order', async () => {
  const order = newOrderId();
  const consumer = open(withReconcile);
  const newer = orderEvent(order, 3, { generation: 2 });
  await consumer.deliver([orderEvent(order, 1), orderEvent(order, 5)]);
  const reply = await consumer.deliver([newer]);
  expect(reply.gaps).toEqual([{ merchant_id: merchantId, order_id: order, after_version: 0, before_version: 4 }]);
  expect(await consumer.deliver([orderEvent(order, 3)])).toMatchObject({ applied: 0, repeated: 1 });
  expect((await knex.raw('select version, generation from consumer_held')).rows).toEqual([
    { version: 3, generation: 2 },
  ]);
  await consumer.deliver([orderEvent(order, 2), newer]);
  expect(await toldOf(order)).toEqual(['1 of 1', '2 of 1', '3 of 2']);
  expect((await knex.raw('select * from consumer_held')).rows).toEqual([]);
});

test('without a way to take it back, a fork is parked', async () => {
  const order = newOrderId();
  const consumer = open();
  const [first, second] = [1, 2].map((version) => orderEvent(order, version));
  await consumer.deliver([first, second]);
  expect(await consumer.deliver([first, orderEvent(order, 2, { generation: 2 })])).toMatchObject({ parked: 1 });
});

test('of many gaps each has its turn, the oldest order first, also behind those that nobody fills', async () => {
  const consumer = open();
  const ids = Array.from({ length: 2_500 }, newOrderId).sort();
  for (let from = 0; from < ids.length; from += 500)
    await consumer.deliver(ids.slice(from, from + 500).map((order) => orderEvent(order, 2)));
  const replies: string[] = [];
  for (const _ of ids.slice(0, 4)) {
    const { gaps } = await consumer.deliver([]);
    replies.push(`${ids.indexOf(gaps[0]?.order_id ?? '')}-${ids.indexOf(gaps.at(-1)?.order_id ?? '')}`);
  }
  const turn = ['0-999', '1000-1999', '2000-2499'];
  expect(turn.flatMap((_, at) => [[...turn, ...turn].slice(at, at + 4)])).toContainEqual(replies);
});

test('what is held is bounded; beyond it the order asks for everything up to the last event known', async () => {
  const consumer = open();
  await knex.raw(`insert into consumer_held (order_id, source, version, generation, event)
                  select gen_random_uuid(), 'collection', 2, 1, '{}' from generate_series(1, 10000)`);
  const order = newOrderId();
  const reply = await consumer.deliver([orderEvent(order, 5)]);
  expect(reply.gaps).toMatchObject([{ order_id: order, after_version: 0, before_version: 6 }]);
  await consumer.deliver([1, 2, 3, 4, 5].map((version) => orderEvent(order, version)));
  expect(await effects(order)).toEqual([1, 2, 3, 4, 5]);
});

test('an event there was no room for is asked for once the order has got to it', async () => {
  const consumer = open();
  await knex.raw(`insert into consumer_held (order_id, source, version, generation, event)
                  select gen_random_uuid(), 'collection', 2, 1, '{}' from generate_series(1, 9999)`);
  const order = newOrderId();
  const asked = { merchant_id: merchantId, order_id: order };
  await consumer.deliver([orderEvent(order, 1)]);
  const reply = await consumer.deliver([orderEvent(order, 3), orderEvent(order, 4)]);
  expect(reply.gaps).toEqual([{ ...asked, after_version: 1, before_version: 3 }]);
  expect(await consumer.deliver([orderEvent(order, 2)])).toMatchObject({ applied: 2 });
  const later = await consumer.deliver([watermark(second(0))]);
  expect(later.gaps).toEqual([{ ...asked, after_version: 3, before_version: 5 }]);
  await consumer.deliver([orderEvent(order, 4)]);
  expect(await consumer.deliver([watermark(second(1))])).toMatchObject({ gaps: [] });
  expect(await effects(order)).toEqual([1, 2, 3, 4]);
});

test('what a replaced generation had further on is waited for no more', async () => {
  const order = newOrderId();
  const consumer = open({ reconcile: async () => undefined });
  await consumer.deliver([orderEvent(order, 1), orderEvent(order, 2), orderEvent(order, 8)]);
  await consumer.deliver([1, 2].map((version) => orderEvent(order, version, { generation: 2 })));
  expect(await consumer.deliver([watermark(second(0))])).toMatchObject({ gaps: [] });
});
