// A source restored to an older state issues the same versions again with other content. What subscribers end with is what
// the journal holds, whoever writes first: collection, or the forwarder that is to raise the generation. (An order that was
// lost and is never written again is not part of any delivery: after a restore read models are built anew.)
import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { expect, test } from 'vitest';
import { makeCluster } from './support/cluster.ts';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 60_000;

/** What was delivered by now is also what a forwarder remembers that dies now: it has stored twice since. */
async function remembered(databaseUrl: string): Promise<void> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  const stored = async () =>
    String((await client.query('select updated_at::text from subscriber_feed')).rows[0].updated_at);
  for (let times = 0; times < 2; times++) {
    const before = await stored();
    await waitFor('positions to be stored', async () => (await stored()) !== before);
  }
  await client.end();
}

async function forwarded(label: string) {
  const cluster = await started(makeCluster(label));
  await cluster.start();
  await cluster.server().createDatabase('orders');
  const url = cluster.server().url('orders');
  const source = await started(startSource(label, { name: 'orders', url, drop: async () => undefined }));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await source.write(200);
  await subscriber.complete(source);
  const backup = await cluster.backUp('backup');
  await source.append('lost');
  await source.append('lost too');
  await subscriber.complete(source);
  /** Nothing is acknowledged to anybody any more; then the files are those of the backup. */
  const restore = async () => {
    await cluster.kill();
    cluster.restore(backup);
    await cluster.start();
  };
  const equal = () =>
    waitFor(
      'the subscriber to hold what the journal holds',
      async () => (await subscriber.differences(source)).length === 0,
      LIMIT_MS,
    );
  return { cluster, source, subscriber, forwarder, restore, equal };
}

test.concurrent('restored under a running forwarder: the same versions with other content replace what was lost', async () => {
  const { source, forwarder, restore, equal } = await forwarded('restored');
  await restore();
  for (const text of ['written again', 'and again', 'and once more']) await source.append(text);
  await equal();
  expect((await source.query('select generation from source_generation')).rows).toEqual([{ generation: 2 }]);
  await source.append('after it');
  await forwarder.live();
  await equal();
  // Again from the same backup: its generation has been forwarded, and so has a newer one that it does not know.
  await restore();
  for (const text of ['a third time', 'and on']) await source.append(text);
  await equal();
  expect((await source.query('select generation from source_generation')).rows).toEqual([{ generation: 3 }]);
  await source.write(200);
  await forwarder.live();
  await equal();
}, 180_000);

test.concurrent('restored while nobody forwarded, and changed since: what is delivered is what the journal holds now', async () => {
  const { source, forwarder, restore, equal } = await forwarded('unseen');
  await remembered(forwarder.databaseUrl);
  await forwarder.kill('SIGKILL');
  await restore();
  for (const text of ['written again', 'and again', 'and once more']) await source.append(text);
  await forwarder.start();
  await equal();
  await forwarder.kill('SIGKILL');
  await forwarder.start();
  await source.append('after it');
  await equal();
  // One incident raises it once.
  expect((await source.query('select generation from source_generation')).rows).toEqual([{ generation: 2 }]);
}, 180_000);

test.concurrent("restored together with forwarding's own database: the subscriber was told of more than there is", async () => {
  const { cluster, source, subscriber, forwarder, equal } = await forwarded('together');
  await remembered(forwarder.databaseUrl);
  for (const table of ['source_lead', 'subscriber_feed'])
    await forwarder.query(`create table ${table}_backup as table ${table}`);
  const backup = await cluster.backUp('both');
  await source.append('lost');
  await subscriber.complete(source);
  const { rows } = await source.query('select clock_timestamp() as lost');
  await waitFor(
    'a watermark after it',
    () => subscriber.watermarks.some(({ value }) => new Date(value) > rows[0].lost),
    LIMIT_MS,
  );
  await forwarder.kill('SIGKILL');
  await cluster.kill();
  cluster.restore(backup);
  await cluster.start();
  for (const table of ['source_lead', 'subscriber_feed'])
    await forwarder.query(`truncate ${table}; insert into ${table} table ${table}_backup`);
  for (const text of ['written again', 'and again']) await source.append(text);
  await forwarder.start();
  await equal();
  expect((await source.query('select generation from source_generation')).rows).toEqual([{ generation: 2 }]);
}, 180_000);

test.concurrent('raised by an admin under load: everything since belongs to it, in order and once', async () => {
  const source = await started(startSource('declared'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  const load = source.load(300);
  await waitFor('some deliveries', async () => (await subscriber.count()) > 300, LIMIT_MS);
  await source.query(`select raise_generation(1, 2, pg_current_snapshot(), 'a drill', 'ann')`);
  const then = await subscriber.count();
  await waitFor('deliveries to go on', async () => (await subscriber.count()) > then + 300, LIMIT_MS);
  await load.stop();
  await source.append('after it');
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
  const { rows } = await subscriber.knex.raw('select distinct generation from consumer_position');
  expect(rows).toEqual([{ generation: 2 }]);
}, 120_000);

test.concurrent('a restart of the source is no incident: nothing is raised, nothing is delivered again', async () => {
  const { cluster, source, subscriber, forwarder, equal } = await forwarded('restarted');
  await cluster.kill();
  await cluster.start();
  await source.append('after it');
  await equal();
  await forwarder.live();
  expect((await source.query('select generation from source_generation')).rows).toEqual([{ generation: 1 }]);
  expect(await subscriber.differences(source)).toEqual([]);
}, 120_000);
