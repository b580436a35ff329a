import { uuidv7 } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { expect, test } from 'vitest';
import { openJournal } from '../src/journal/journal.ts';
import { pauseAfterRound } from '../src/journal/open-transaction.ts';
import { SEES_NOTHING } from '../src/source/pg-snapshot.ts';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

test('an ascending refill hands out each event of an order once, in order, wherever its row stands', async () => {
  const source = await started(startSource('order'));
  await source.write(1);
  const orders = Array.from({ length: 20 }, () => uuidv7(Date.now()));
  /** Rows stand in the table as they are written; between two writes lie more blocks than are read at a time. */
  const put = async (...versions: number[]) => {
    for (const version of versions)
      await source.query(
        `insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
         select e.merchant_id, o, $2, e.type, e.livemode, e.generation, e.data
         from (select * from order_event order by order_id limit 1) e, unnest($1::uuid[]) o`,
        [orders, version],
      );
    await source.write(2_500, 500);
  };
  await put(2, 5);
  await put(7);
  await put(3, 4);
  await put(6, 1);
  const journal = await started(
    Promise.resolve(
      openJournal({
        source: 'collection',
        connectionString: source.url,
        applicationName: 'test',
        generation: 1,
        generationOf: (written) => written,
      }),
    ),
  );
  const refill = await journal.refill(SEES_NOTHING, true);
  const versions = new Map<string, number[]>();
  for await (const { events } of refill.pieces())
    for (const { order_id, version } of events) versions.set(order_id, [...(versions.get(order_id) ?? []), version]);
  for (const order of orders) expect(versions.get(order)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  for (const [order, some] of versions) expect(some, order).toEqual(some.map((_, index) => index + 1));
});

test('a feed that joins the log behind a refill repeats nothing of it, also while a transaction stays open', async () => {
  const source = await started(startSource('join'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await forwarder.post('/admin/subscribers/query/pause');
  const isPaused = async () => (await forwarder.list()).subscribers[0]?.state === 'paused';
  await waitFor('it to be paused', isPaused, 20_000); // else it has some of what is written next, and is given it again
  const open = new pg.Client(source.url);
  await open.connect();
  await open.query('begin; select pg_current_xact_id()');
  await source.write(400);
  await forwarder.post('/admin/subscribers/query/resume');
  await waitFor('the refill', async () => (await subscriber.count()) === 400, 20_000);
  await forwarder.live();
  await source.write(100);
  await subscriber.complete(source);
  await open.end();
  const metrics = await (await fetch(`${forwarder.internalUrl}/metrics`)).text();
  expect(metrics).toMatch(/ballast_forwarding_repeats_total\{[^}]*\} 0\n/);
  expect(await subscriber.differences(source)).toEqual([]);
});

test('a transaction that stays open is told once, with its age, and what others write comes all the same', async () => {
  const source = await started(startSource('held'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await forwarder.post('/admin/subscribers/query/pause');
  const open = new pg.Client({ connectionString: source.url, application_name: 'somebody' });
  await open.connect();
  await open.query('begin; select pg_current_xact_id()');
  await source.write(500);
  const standsInJournal = async () =>
    (await forwarder.query(`select from subscriber_feed where reading = 'journal'`)).rowCount === 1;
  await waitFor('that it left the log to be stored', standsInJournal);
  await forwarder.kill('SIGKILL');
  await forwarder.start(); // what it lets go from the log by now, the open transaction is older than
  await forwarder.post('/admin/subscribers/query/resume');
  const told = () => forwarder.log().match(/a transaction of the source stays open/g)?.length ?? 0;
  await waitFor('it to be told', () => told() > 0, 30_000);
  expect(forwarder.log()).toMatch(/"who":"somebody pid \d+".*"age_seconds":\d+/);
  await source.write(500);
  await subscriber.complete(source);
  await open.query('rollback');
  await open.end();
  await forwarder.live();
  expect(told()).toBe(1);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);

test.each([
  ['nothing new', { isHeldUp: false, events: 0, tookMs: 3 }, 200],
  ['much new', { isHeldUp: false, events: 5_000, tookMs: 900 }, 0],
  ['held up, and quick', { isHeldUp: true, events: 50, tookMs: 3 }, 200],
  ['held up, and slow', { isHeldUp: true, events: 50, tookMs: 1_800 }, 1_800],
  ['held up, and very slow', { isHeldUp: true, events: 0, tookMs: 60_000 }, 5_000],
])('the pause after a round that found %s', (_, round, ms) => {
  expect(pauseAfterRound(round)).toBe(ms);
});
