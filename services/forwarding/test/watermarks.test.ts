import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

async function flowing(label: string) {
  const source = await started(startSource(label));
  const subscriber = await started(startSubscriber('refund'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  return { source, subscriber, forwarder };
}

test.concurrent('watermarks come also when idle, and only forwards', async () => {
  const { subscriber } = await flowing('idle');
  await waitFor('three watermarks', () => subscriber.watermarks.length >= 3);
  const values = subscriber.watermarks.map((mark) => mark.value);
  expect(values).toEqual([...new Set(values)].sort());
});

test.concurrent('no watermark passes a transaction that still runs', async () => {
  const { source, subscriber } = await flowing('running');
  const slow = new pg.Client(source.url);
  await slow.connect();
  await slow.query('begin');
  const { rows } = await slow.query(
    'select xact_start::text as began from pg_stat_activity where pid = pg_backend_pid()',
  );
  const began = new Date(rows[0].began).getTime();
  const seen = subscriber.watermarks.length;
  await source.write(100); // others go on, and are delivered
  await subscriber.complete(source);
  await waitFor('a watermark of that time', () => subscriber.watermarks.length > seen);
  const { rows: held } = await source.query('select count(*)::int as count from journal_watermark where value > $1', [
    rows[0].began,
  ]);
  expect(held[0].count).toBe(0);
  await slow.query(
    `insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
     select merchant_id, order_id, version + 1, type, livemode, generation, data from order_event
     order by version desc limit 1`,
  );
  await slow.query('commit');
  await slow.end();
  const passed = await waitFor('a later watermark', () =>
    subscriber.watermarks.find((mark) => new Date(mark.value).getTime() > began),
  );
  expect(passed.events).toBe(101);
});

test.concurrent('a watermark is delivered after the refill of a subscriber that was away, never before', async () => {
  const { source, subscriber, forwarder } = await flowing('refill');
  await subscriber.down();
  const before = subscriber.watermarks.length;
  await forwarder.post('/admin/subscribers/refund/pause'); // from here on it is the journal's
  await source.write(2_000);
  const { rows } = await source.query('select clock_timestamp() as written');
  await subscriber.up();
  await forwarder.post('/admin/subscribers/refund/resume');
  const first = await waitFor('a watermark', () =>
    subscriber.watermarks.slice(before).find((mark) => new Date(mark.value) > rows[0].written),
  );
  expect(first.events).toBe(2_000);
});

test.concurrent('a row that another forwarder wrote stops nothing: what comes behind it is proven all the same', async () => {
  const { source, subscriber } = await flowing('two_nodes');
  await waitFor('something to be proven', () => subscriber.watermarks.length > 0);
  await source.query(`insert into journal_watermark (node, value) values ('another', clock_timestamp())`);
  const { rows } = await source.query('select clock_timestamp() as written');
  await waitFor(
    'a later time to be proven',
    () => subscriber.watermarks.some((mark) => new Date(mark.value) > rows[0].written),
    30_000,
  );
  const nodes = await subscriber.knex.raw('select distinct node from consumer_stream');
  expect(nodes.rows).toEqual([{ node: 'collection' }]);
}, 60_000);
