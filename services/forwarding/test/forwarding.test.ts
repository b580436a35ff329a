import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

test('every committed event is delivered once in effect and in order, byte for byte', async () => {
  const source = await started(startSource('flow'));
  const subscriber = await started(startSubscriber('query'));
  await source.write(500); // before there is a slot: they come from the journal
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await source.write(1_000);
  await waitFor('all events', async () => (await subscriber.count()) >= 1_500);
  await forwarder.live();
  await source.write(300, 1);
  await waitFor('all events', async () => (await subscriber.count()) >= 1_800);
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
  const { rows } = await subscriber.knex.raw('select distinct text from effect order by text');
  expect(rows).toEqual([{ text: 'reference' }, { text: 'Ünïcode "quoted" \\ 😀' }]);
});

test('a transaction larger than the tail passes through it', async () => {
  const source = await started(startSource('large'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await source.write(25_000, 25_000);
  await waitFor('all events', async () => (await subscriber.count()) >= 25_000, 60_000);
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 90_000);

test('kill -9 of the forwarder under load, five times: nothing lost, nothing twice, nothing out of order', async () => {
  const source = await started(startSource('kill'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  const load = source.load(800);
  for (let kills = 0; kills < 5; kills++) {
    const before = await subscriber.count();
    await waitFor('some deliveries', async () => (await subscriber.count()) > before + 100, 20_000);
    await forwarder.kill('SIGKILL');
    await forwarder.start();
  }
  await load.stop();
  await forwarder.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 90_000);

test('a subscriber that dies in the middle of deliveries gets everything when it is back; others never wait for it', async () => {
  const source = await started(startSource('dead'));
  const dying = await started(startSubscriber('dying'));
  const healthy = await started(startSubscriber('healthy'));
  const forwarder = await started(startForwarder({ source, subscribers: [dying, healthy] }));
  await forwarder.live('dying');
  const load = source.load(500);
  await waitFor('some deliveries', async () => (await dying.count()) > 100);
  await dying.down();
  const then = await healthy.count();
  await waitFor('the others to go on', async () => (await healthy.count()) > then + 2_000, 20_000);
  await forwarder.live('healthy');
  const { subscribers } = await forwarder.list();
  expect(subscribers.find((feed) => feed.subscriber === 'dying')).toMatchObject({ state: 'failing' });
  await dying.up();
  await load.stop();
  await forwarder.live('dying');
  await dying.complete(source);
  expect(await dying.differences(source)).toEqual([]);
  await healthy.complete(source);
  expect(await healthy.differences(source)).toEqual([]);
}, 60_000);

test('a dead subscriber does not keep the slot: it is refilled from the journal', async () => {
  const source = await started(startSource('held'));
  const dead = await started(startSubscriber('dead'));
  const forwarder = await started(startForwarder({ source, subscribers: [dead] }));
  await forwarder.live();
  await dead.down();
  const { rows } = await source.query('select pg_current_wal_lsn()::text as lsn');
  await source.write(30_000, 200); // more than the tail holds
  await waitFor(
    'the slot to pass what the subscriber lacks',
    async () => {
      const slot = await source.query(
        'select confirmed_flush_lsn > $2::pg_lsn + 20000000 as passed from pg_replication_slots where slot_name = $1',
        [source.slot, rows[0].lsn],
      );
      return slot.rows[0].passed;
    },
    20_000,
  );
  expect((await forwarder.list()).subscribers).toMatchObject([{ reading: 'journal' }]);
  await dead.up();
  await forwarder.live();
  await dead.complete(source);
  expect(await dead.differences(source)).toEqual([]);
}, 60_000);

test("while forwarding's own database is away deliveries go on, and a crash then repeats only what consumers drop", async () => {
  const source = await started(startSource('own'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await source.write(500);
  await subscriber.complete(source);
  const own = new URL(forwarder.databaseUrl).pathname.slice(1);
  await source.query(`alter database ${own} with allow_connections false`);
  await source.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [own]);
  await waitFor('positions not to be stored', () => forwarder.log().includes('positions are not stored'));
  await source.write(500);
  await subscriber.complete(source);
  await forwarder.kill('SIGKILL');
  await source.query(`alter database ${own} with allow_connections true`);
  await forwarder.start();
  await source.write(500);
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);

test('a gap that a subscriber reports is filled from the journal', async () => {
  const source = await started(startSource('gap'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await source.write(1_000);
  await waitFor('all events', async () => (await subscriber.count()) === 1_000);
  // The subscriber loses what it had of half its orders, without knowing.
  await subscriber.knex.raw(`with lost as (delete from consumer_position where left(order_id::text, 1) = '0' and random() < 0.5 returning order_id)
                             delete from effect using lost where effect.order_id = lost.order_id`);
  await source.write(3_000);
  await waitFor('every gap to be filled', async () => {
    const { rows } = await subscriber.knex.raw(
      `select count(*)::int as open from consumer_position where waits_for is not null`,
    );
    return rows[0].open === 0 && (await forwarder.list()).subscribers[0]?.pending_events === 0;
  });
  const { rows } = await subscriber.knex.raw(
    'select order_id from effect group by order_id having array_agg(version order by n) <> array(select generate_series(1, max(version)))',
  );
  expect(rows).toEqual([]);
}, 60_000);

test('a poison event stops its order and nothing else', async () => {
  const source = await started(startSource('poison'));
  const subscriber = await started(startSubscriber('query'));
  let poisoned: string | undefined;
  subscriber.beforeApply = async (events) => {
    poisoned ??= events.find((event) => event.version === 2)?.order_id;
    if (events.some((event) => event.order_id === poisoned && event.version === 2)) throw new Error('cannot digest it');
  };
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await source.write(2_000);
  await forwarder.live();
  await waitFor('the poison event to be parked', async () => {
    const { rows } = await subscriber.knex.raw('select order_id, version, reason from consumer_parked');
    return rows.length === 1 && rows[0].order_id === poisoned && rows[0].reason === 'cannot digest it';
  });
  const { rows } = await source.query('select count(*)::int as count from order_event where order_id <> $1', [
    poisoned,
  ]);
  await waitFor('all others', async () => (await subscriber.count()) === rows[0].count + 1);
});
