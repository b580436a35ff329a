// A day of orders, its attempts and its journal live and die together, and not before everybody is through with it.
import { uuidv7 } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import { createLogger } from '@ballast/telemetry';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { dayOf } from '../src/workers/days.ts';
import { type Expired, expireDays } from '../src/workers/expire-days.ts';
import { ensurePartitions } from '../src/workers/partitions.ts';
import { MERCHANT, openTestPayments, type TestPayments } from './support/open-payments.ts';

const DAY_MS = 86_400_000;
const logger = createLogger({ service: 'test', level: 'silent' });
let t: TestPayments;
/** 405 days ago, in the middle of the day. */
let longAgo: number;

beforeAll(async () => {
  t = await openTestPayments({ label: 'expire' });
});
afterAll(() => t.close());
beforeEach(async () => {
  longAgo = t.core.clock.now() - 405 * DAY_MS;
  await ensurePartitions(t.knex, longAgo - 8 * DAY_MS); // the last of them is that day
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') return;
  const left = await tables();
  if (left.length > 0) await t.knex.raw(`drop table ${left.join(', ')}`);
  await t.knex.raw('truncate journal_reader, expired_day, person_case');
});

/** A paid order moved to that time, with all that belongs to it. */
async function oldOrder(at = longAgo, extra: { status?: string; state?: string; voidableUntil?: number } = {}) {
  const { order } = await t.pay();
  const id = uuidv7(at);
  const { status = 'approved', state = 'approved', voidableUntil = at } = extra;
  const columns = async (table: string) => {
    const { rows } = await t.knex.raw(
      `select column_name as name from information_schema.columns where table_name = ? and column_name <> 'order_id'`,
      [table],
    );
    return rows.map(({ name }: { name: string }) => name).join(', ');
  };
  for (const table of ['orders', 'attempt', 'order_event']) {
    const names = await columns(table);
    await t.knex.raw(`insert into ${table} (order_id, ${names}) select ?, ${names} from ${table} where order_id = ?`, [
      id,
      order,
    ]);
  }
  await t.knex.raw(
    `update orders set status = ?, work = null, voidable_until = to_timestamp(? / 1000.0) where order_id = ?`,
    [status, voidableUntil, id],
  );
  await t.knex.raw('update attempt set state = ? where order_id = ?', [state, id]);
  return id;
}

/** As forwarding tells it: this reader has everything that is there now. */
const hasRead = (reader: string, has = 'pg_current_snapshot()') =>
  t.knex.raw(
    `insert into journal_reader (reader, has, covered_at) values (?, ${has}, now())
     on conflict (reader) do update set has = excluded.has`,
    [reader],
  );

const rules = { keptDays: 400, refundWindowDays: 180, pauseMs: 0 };
const expire = async (more: { lockTimeoutMs?: number } = {}): Promise<Expired> => {
  const round = await expireDays({ databaseUrl: t.databaseUrl, now: t.core.clock.now, logger, ...rules, ...more });
  if (round === undefined) throw new Error('nobody else drops days here');
  return round;
};

const tables = async () => {
  const { rows } = await t.knex.raw(
    `select relname as name from pg_class where relkind = 'r' and relname ~ '^(orders|attempt|order_event)_\\d{8}$'
       and right(relname, 8) <= ? order by relname`,
    [dayOf(longAgo)],
  );
  return rows.map(({ name }: { name: string }) => name);
};

test('a day that everybody is through with goes whole, with the key that opens its card numbers; younger days stay', async () => {
  const day = dayOf(longAgo);
  await oldOrder();
  await t.knex.raw(`insert into card_data_key (day, key_sealed) values (?::date, 'x')`, [day]);
  const young = await t.pay();
  await hasRead('slot/query');
  const { dropped, held } = await expire();
  expect(held).toEqual([]);
  expect(dropped).toContain(day);
  expect(dropped).toHaveLength(11);
  expect(await tables()).toEqual([]);
  expect((await t.knex.raw('select 1 from card_data_key where day = ?::date', [day])).rows).toEqual([]);
  const { rows } = await t.knex.raw(
    'select orders, dropped_at is not null as done from expired_day where day = ?::date',
    [day],
  );
  expect(rows).toEqual([{ orders: 1n, done: true }]);
  expect(await t.events(young.order)).toEqual(['accepted', 'approved']);
  expect(await expire()).toEqual({ dropped: [], held: [] });
});

test.each([
  { what: 'an order that is in doubt', extra: { status: 'in_doubt' }, who: 'orders' },
  { what: 'an order that is reversing', extra: { status: 'reversing' }, who: 'orders' },
  { what: 'an attempt that is with a person', extra: { state: 'needs_person' }, who: 'attempts' },
  { what: 'an attempt that is being reversed alone', extra: { state: 'reversing' }, who: 'attempts' },
  {
    what: 'an order that can still be refunded',
    extra: { voidableUntil: Date.now() - 179 * DAY_MS },
    who: 'refund window',
  },
])('$what holds its day, and no other', async ({ extra, who }) => {
  const order = await oldOrder(longAgo, extra);
  await hasRead('slot/query');
  const { dropped, held } = await expire();
  expect(dropped).toHaveLength(10);
  expect(held).toMatchObject([{ day: dayOf(longAgo), by: [{ who }] }]);
  expect(await tables()).toHaveLength(3);
  expect(await t.events(order)).toEqual(['accepted', 'approved']);
});

test('an open case of a person holds the day', async () => {
  const order = await oldOrder(longAgo, { status: 'reversal_refused', state: 'reversal_refused' });
  await t.knex.raw(
    `insert into person_case (merchant_id, order_id, version, attempt_no, channel, reason) values (?, ?, 3, 1, 'bank_a', 'x')`,
    [MERCHANT, order],
  );
  await hasRead('slot/query');
  expect((await expire()).held).toMatchObject([{ by: [{ who: 'orders', why: '1 wait for a bank or a person' }] }]);
  await t.knex.raw("update person_case set closed_at = now(), action = 'seen'");
  expect(await expire()).toMatchObject({ dropped: [dayOf(longAgo)], held: [] });
});

test('every reader must be past the last event: one that is not holds the day until it is, or is retired', async () => {
  await hasRead('slot/slow');
  await hasRead('slot/rebuilt', `'1:1:'::pg_snapshot`);
  await oldOrder();
  await hasRead('slot/query');
  const { held, dropped } = await expire();
  expect(dropped).toHaveLength(10); // empty days have no event that anybody could lack
  expect(held).toMatchObject([
    { day: dayOf(longAgo), by: [{ who: 'reader slot/rebuilt' }, { who: 'reader slot/slow' }] },
  ]);
  await hasRead('slot/rebuilt');
  expect((await expire()).held).toMatchObject([{ by: [{ who: 'reader slot/slow' }] }]);
  await t.knex.raw("update journal_reader set retired_at = now() where reader = 'slot/slow'");
  expect(await expire()).toEqual({ dropped: [dayOf(longAgo)], held: [] });
});

test('a position that a dump brought along from another cluster proves nothing', async () => {
  await oldOrder();
  await hasRead('slot/query', `'900000000000:900000000000:'::pg_snapshot`);
  await t.knex.raw('update journal_reader set system = system - 1');
  expect((await expire()).held).toMatchObject([{ day: dayOf(longAgo), by: [{ who: 'reader slot/query' }] }]);
  await t.knex.raw('update journal_reader set system = this_system(), has = pg_current_snapshot()');
  expect(await expire()).toMatchObject({ dropped: [dayOf(longAgo)], held: [] });
});

test('where nobody has ever said how far it is, nothing goes', async () => {
  await oldOrder();
  const { dropped, held } = await expire();
  expect(dropped).toEqual([]);
  expect(held).toHaveLength(11);
  expect(held[0]).toMatchObject({ by: [{ who: 'no reader' }] });
});

test('a replication slot that has not confirmed the day’s events holds it', async () => {
  const slot = `expire_${process.pid}_${Date.now().toString(36)}`;
  await t.knex.raw(`select pg_create_logical_replication_slot(?, 'pgoutput')`, [slot]);
  try {
    await oldOrder();
    await hasRead(`${slot}/query`);
    expect((await expire()).held).toMatchObject([{ by: [{ who: `slot ${slot}` }] }]);
  } finally {
    await t.knex.raw('select pg_drop_replication_slot(?)', [slot]);
  }
  expect(await expire()).toMatchObject({ held: [] });
});

test('a slot whose readers have never said how far they are holds every event, whatever it has confirmed', async () => {
  await oldOrder();
  const slot = `mute_${process.pid}_${Date.now().toString(36)}`;
  await t.knex.raw(`select pg_create_logical_replication_slot(?, 'pgoutput')`, [slot]);
  try {
    await hasRead('slot/query');
    const why = expect.stringContaining('none of its readers');
    expect((await expire()).held).toMatchObject([{ day: dayOf(longAgo), by: [{ who: `slot ${slot}`, why }] }]);
    await hasRead(`${slot}/points`);
    // What other tests keep open on this server holds a new slot back for a while.
    const dropped: string[] = [];
    const moveOn = 'select pg_log_standby_snapshot(), pg_replication_slot_advance(?, pg_current_wal_lsn())';
    await waitFor(
      'the slot to be past the day',
      async () => {
        await t.knex.raw(moveOn, [slot]);
        dropped.push(...(await expire()).dropped);
        return dropped.length > 0;
      },
      60_000,
    );
    expect(dropped).toEqual([dayOf(longAgo)]);
  } finally {
    await t.knex.raw('select pg_drop_replication_slot(?)', [slot]);
  }
}, 90_000);

test('whatever a row names as its transaction, its whole id is never one that has yet to be given out', async () => {
  const { rows } = await t.knex.raw(
    `select x, whole_xid(x::text::xid) as whole, n.xid as next
     from unnest(array[3, 700, 1200000000, 2147483648, 4294967295]) as x,
       (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xid) n`,
  );
  for (const { x, whole, next } of rows) {
    expect(whole, x).toBeLessThanOrEqual(next);
    expect(BigInt.asUintN(32, whole), x).toBe(BigInt(x)); // its lower half
  }
});

test('a day whose journal was lost by hand goes when every reader has its orders instead', async () => {
  await oldOrder();
  await t.knex.raw(`drop table order_event_${dayOf(longAgo)}`);
  await hasRead('slot/query', `'1:1:'::pg_snapshot`);
  expect((await expire()).held).toMatchObject([{ by: [{ who: 'reader slot/query' }] }]);
  await hasRead('slot/query');
  expect(await expire()).toMatchObject({ dropped: [dayOf(longAgo)], held: [] });
});

test('a process that died between two tables leaves no half day: the next round goes on', async () => {
  const day = dayOf(longAgo);
  await oldOrder();
  await hasRead('slot/query');
  await t.knex.raw('insert into expired_day (day) values (?::date)', [day]);
  await t.knex.raw(`alter table orders detach partition orders_${day}`);
  expect(await expire()).toMatchObject({ held: [] });
  expect(await tables()).toEqual([]);
});

test('what became needed after the decision is attached again, whole', async () => {
  const day = dayOf(longAgo);
  const order = await oldOrder();
  await hasRead('slot/query', `'1:1:'::pg_snapshot`); // a rebuild was asked for meanwhile
  await t.knex.raw('insert into expired_day (day) values (?::date)', [day]);
  await t.knex.raw(`alter table orders detach partition orders_${day}`);
  expect((await expire()).held).toMatchObject([{ day, by: [{ who: 'reader slot/query' }] }]);
  expect(await t.order(order)).toMatchObject({ status: 'approved' });
  expect(await t.events(order)).toEqual(['accepted', 'approved']);
  expect((await t.knex.raw('select 1 from expired_day where dropped_at is null')).rows).toEqual([]);
  await expect(t.knex.raw('delete from order_event where order_id = ?', [order])).rejects.toMatchObject({
    code: 'BL002', // append-only again
  });
});

test('a day whose detaching was interrupted is finished first: older ones do not wait behind it for ever', async () => {
  const day = dayOf(longAgo);
  const order = await oldOrder();
  await oldOrder(longAgo - DAY_MS);
  await hasRead('slot/query');
  await interruptDetaching(day);
  expect(await t.order(order)).toBeUndefined();
  const { dropped, held } = await expire();
  expect(held).toEqual([]);
  expect(dropped).toHaveLength(11);
  expect(await tables()).toEqual([]);
});

test('a day that fails is held by its error, and the others go', async () => {
  const day = dayOf(longAgo - DAY_MS);
  await hasRead('slot/query');
  await t.knex.raw(`create view somebodys as select order_id from orders_${day}`);
  const { dropped, held } = await expire();
  expect(held).toMatchObject([{ day, by: [{ who: 'error', why: expect.stringContaining('other objects depend') }] }]);
  expect(dropped).toHaveLength(10);
  await t.knex.raw('drop view somebodys');
  expect(await expire()).toMatchObject({ dropped: [day], held: [] });
});

/** As a process that ends, or a lock that does not come, leaves it. */
async function interruptDetaching(day: string): Promise<void> {
  const [looking, detaching] = [new pg.Client(t.databaseUrl), new pg.Client(t.databaseUrl)];
  await Promise.all([looking.connect(), detaching.connect()]);
  await looking.query('begin');
  await looking.query(`select count(*) from orders_${day}`);
  await detaching.query('set lock_timeout = 100');
  await expect(detaching.query(`alter table orders detach partition orders_${day} concurrently`)).rejects.toMatchObject(
    { code: '55P03' },
  );
  await looking.query('commit');
  await Promise.all([looking.end(), detaching.end()]);
}

test('killed again and again at any moment, it leaves whole days behind, and in the end none', async () => {
  for (let day = 0; day < 11; day++) await oldOrder(longAgo - day * DAY_MS);
  await hasRead('slot/query');
  let kills = 0;
  let over = false;
  const killing = (async () => {
    while (!over) {
      const { rows } = await t.knex.raw(
        `select pg_terminate_backend(pid) as killed from pg_stat_activity
         where application_name = 'collection days' and datname = current_database() and query ~ ?`,
        [['detach', 'drop', 'expired_day', 'select'][kills % 4] ?? ''],
      );
      kills += rows.length;
    }
  })();
  const finished = async () => {
    if (kills >= 20) over = true;
    return expire().then(
      ({ held }) => held.length === 0,
      () => false,
    );
  };
  await waitFor('every day to be dropped', finished, 60_000);
  over = true;
  await killing;
  expect(kills).toBeGreaterThan(0);
  expect(await expire()).toEqual({ dropped: [], held: [] });
  expect(await tables()).toEqual([]);
  expect((await t.knex.raw('select 1 from expired_day where dropped_at is null')).rows).toEqual([]);
}, 120_000);

test('somebody who looks at the day for long does not hold payments up; the next round finishes', async () => {
  const day = dayOf(longAgo);
  await oldOrder();
  await hasRead('slot/query');
  const looking = new pg.Client(t.databaseUrl);
  await looking.connect();
  await looking.query('begin');
  await looking.query(`select count(*) from orders_${day}`);
  const expiring = expire({ lockTimeoutMs: 1_000 });
  let paid = 0;
  const paying = (async () => {
    while (paid < 200) if ((await t.pay()).status === 201) paid++;
  })();
  const { held } = await expiring;
  expect(paid).toBeGreaterThan(0);
  expect(held).toMatchObject([{ day, by: [{ who: 'lock' }] }]);
  await paying;
  await looking.query('commit');
  await looking.end();
  await hasRead('slot/query');
  expect(await expire()).toMatchObject({ held: [] });
  expect(await tables()).toEqual([]);
}, 60_000);

test('payments go on while forty days are detached and dropped: no error reaches a terminal', async () => {
  for (let back = 1; back <= 3; back++) await ensurePartitions(t.knex, longAgo - (8 + back * 11) * DAY_MS);
  for (let day = 0; day < 40; day += 8) await oldOrder(longAgo - day * DAY_MS);
  await t.pay(); // plans are made while the days are still there
  await hasRead('slot/query');
  let done = false;
  const answers = new Map<number, number>();
  const pay = async () => {
    while (!done) {
      const { status } = await t.pay();
      answers.set(status, (answers.get(status) ?? 0) + 1);
    }
  };
  const paying = Promise.all(Array.from({ length: 8 }, pay));
  const { dropped, held } = await expire().finally(() => {
    done = true;
  });
  await paying;
  expect(held).toEqual([]);
  expect(dropped).toHaveLength(44);
  expect([...answers.keys()]).toEqual([201]);
  expect(answers.get(201)).toBeGreaterThan(100);
  expect(t.core.accept.stats()).toMatchObject({ waiting: 0, slow: 0 });
}, 60_000);
