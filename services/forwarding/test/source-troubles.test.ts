// What a source may be or do that is not as it should be, and is said.
import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { expect, test } from 'vitest';
import { makeCluster } from './support/cluster.ts';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 30_000;

async function openTransaction(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  await client.connect();
  await client.query('begin');
  await client.query('select pg_current_xact_id()');
  return client;
}

test.concurrent('making the slot waits for a transaction that runs for seconds', async () => {
  const source = await started(startSource('patient'));
  const busy = await openTransaction(source.url);
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await waitFor(
    'the slot to be waited for longer than any lock',
    async () => {
      const { rows } = await source.query(
        `select 1 from pg_stat_activity where datname = current_database()
         and query like '%pg_create_logical_replication_slot%' and pid <> pg_backend_pid()
         and clock_timestamp() - query_start > interval '2 seconds'`,
      );
      return rows.length > 0;
    },
    LIMIT_MS,
  );
  await busy.query('commit');
  await busy.end();
  await forwarder.live();
}, 60_000);

test.concurrent('a source that could lose in a failover what is forwarded is refused, unless that is accepted', async () => {
  const source = await started(startSource('unguarded'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber], guarded: true }));
  const refused = await waitFor(
    'it to be refused',
    async () => (await forwarder.list()).sources.find(({ state }) => state === 'misconfigured'),
    LIMIT_MS,
  );
  expect(refused.reason).toContain('no synchronous standby');
  expect(refused.warnings.map(({ name }) => name)).toEqual(['unguarded']);
}, 60_000);

test.concurrent('whoever leads no more says nothing of the source, which may have changed since', async () => {
  const cluster = await started(makeCluster('led'));
  await cluster.start({ max_prepared_transactions: '2' });
  await cluster.server().createDatabase('orders');
  const url = cluster.server().url('orders');
  const source = await started(startSource('led', { name: 'orders', url, drop: async () => undefined }));
  const subscriber = await started(startSubscriber('query'));
  const first = await started(startForwarder({ source, subscribers: [subscriber] }));
  await first.live();
  const { databaseUrl } = first;
  const second = await started(
    startForwarder({ source, subscribers: [subscriber], instance: 'forwarding-2', databaseUrl }),
  );
  const forgetful = await openTransaction(url);
  await forgetful.query(`prepare transaction 'forgotten'`);
  const seen = async (forwarder: typeof first) => {
    const one = (await forwarder.list()).sources[0];
    return `${one?.state} ${one?.warnings.map(({ name }) => name).join()}`;
  };
  await waitFor('it to be said', async () => (await seen(first)) === 'leading watermarks_held', LIMIT_MS);

  await first.kill('SIGSTOP'); // until it has lost the slot
  await waitFor('the second to say it', async () => (await seen(second)) === 'leading watermarks_held', LIMIT_MS);
  first.wake();
  await waitFor('the first to stand by', async () => (await seen(first)) === 'standby ', LIMIT_MS);
  await forgetful.query(`rollback prepared 'forgotten'`);
  await forgetful.end();
  await waitFor('it to be over', async () => (await seen(second)) === 'leading ', LIMIT_MS);
  const metrics = async (forwarder: typeof first) => (await fetch(`${forwarder.internalUrl}/metrics`)).text();
  for (const name of ['ballast_forwarding_warning', 'ballast_forwarding_route', 'ballast_slot_retained_bytes']) {
    expect(await metrics(second)).toContain(`\n${name}{`);
    expect(await metrics(first)).not.toContain(`\n${name}{`);
  }
}, 90_000);

test.concurrent('a prepared transaction that keeps watermarks back is said while it lasts', async () => {
  const cluster = await started(makeCluster('prepared'));
  await cluster.start({ max_prepared_transactions: '2' });
  await cluster.server().createDatabase('orders');
  const url = cluster.server().url('orders');
  const source = await started(startSource('prepared', { name: 'orders', url, drop: async () => undefined }));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  const forgetful = await openTransaction(url);
  await forgetful.query(`prepare transaction 'forgotten'`);
  const warnings = async () => (await forwarder.list()).sources[0]?.warnings.map(({ name }) => name).join();
  await waitFor('it to be said', async () => (await warnings()) === 'watermarks_held', LIMIT_MS);
  expect(await (await fetch(`${forwarder.internalUrl}/metrics`)).text()).toMatch(
    /ballast_forwarding_warning\{source="collection",warning="watermarks_held"[^}]*\} 1/,
  );
  await forgetful.query(`rollback prepared 'forgotten'`);
  await forgetful.end();
  await waitFor('it to be over', async () => (await warnings()) === '', LIMIT_MS);
  expect(forwarder.log().match(/"reason":"a prepared transaction keeps watermarks back"/g)).toHaveLength(1);
}, 90_000);
