// What forwarding stores of its source outlives a crash of the source. A crash takes back what was not written to disk: the end
// of the log, and transaction ids that were given out and came to nothing. Stored, the first would look like a lost history,
// and the second would be passed over when a payment gets them.
import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { expect, test } from 'vitest';
import { makeCluster } from './support/cluster.ts';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 30_000;

/** Again and again, until it fails or is stopped. */
function keepOn(work: () => Promise<unknown>): { stop(): Promise<void> } {
  let stopped = false;
  const running = (async () => {
    while (!stopped) await work();
  })().catch(() => undefined); // its server is killed
  return {
    stop: () => {
      stopped = true;
      return running;
    },
  };
}

async function connectTo(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

test('neither the end of the log nor a snapshot is stored before a crash could not take it back', async () => {
  const cluster = await started(makeCluster('crashes'));
  await cluster.start({ wal_writer_delay: '10s' });
  await cluster.server().createDatabase('orders');
  const url = cluster.server().url('orders');
  const source = await started(startSource('crashes', { name: 'orders', url, drop: async () => undefined }));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();

  // A transaction that stays open and writes, and others that come to nothing.
  await source.query('create table filler (text text)');
  const [open, aborting] = [await connectTo(url), await connectTo(url)];
  await open.query('begin');
  const writing = keepOn(() => open.query(`insert into filler values (repeat('x', 1000)); select pg_sleep(0.002)`));
  const giving = keepOn(() => aborting.query('begin; select pg_current_xact_id(); rollback; select pg_sleep(0.002)'));
  await source.write(3_000); // some of it is let go from the tail: who leaves the log does not come back before `open` ends
  await subscriber.complete(source);
  await forwarder.post('/admin/subscribers/query/pause');
  const state = async () => (await forwarder.list()).subscribers[0]?.state;
  await waitFor('it to be paused', async () => (await state()) === 'paused', LIMIT_MS);
  await forwarder.post('/admin/subscribers/query/resume');
  await waitFor('it to read the journal', async () => (await state()) === 'catching_up', LIMIT_MS);

  const looked = new Set<string>();
  const wrong: string[] = [];
  async function look(): Promise<void> {
    const { rows } = await forwarder.query(
      `select updated_at::text as at, reached::text, pg_snapshot_xmax(snapshot)::text as xmax, reading
       from source_lead join subscriber_feed using (source)`,
    );
    const [{ at, reached, xmax, reading }] = rows;
    const { rows: lasts } = await source.query(
      `select pg_current_wal_flush_lsn() >= $1::pg_lsn as log,
         (select max(xmin::text::bigint) from journal_watermark) >= $2::bigint as xids`,
      [reached, xmax],
    );
    if (reading === 'journal') looked.add(at);
    if (!lasts[0].log) wrong.push(`the log is not on disk up to ${reached}`);
    if (!lasts[0].xids) wrong.push(`no watermark was committed after ${xmax}`);
  }
  await waitFor(
    'ten times to be stored',
    async () => {
      await look();
      return looked.size >= 10;
    },
    LIMIT_MS,
  );
  expect([...new Set(wrong)]).toEqual([]);

  await cluster.kill();
  await Promise.all([writing.stop(), giving.stop()]);
  await cluster.start();
  await source.write(500, 1);
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
  expect((await source.query('select generation from source_generation')).rows).toEqual([{ generation: 1 }]);
}, 120_000);
