// A primary that dies under load, and a standby that is promoted in its place. The standby's slot was kept in step, commits
// waited for it, and the log was sent only when it had it: then nothing changes for subscribers but the address.
import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { expect, test } from 'vitest';
import { type Cluster, makeCluster } from './support/cluster.ts';
import { startForwarder } from './support/forwarder.ts';
import { startSource, type TestSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 60_000;
const PHYSICAL = 'standby_1';

async function ask(cluster: Cluster, text: string, database = 'orders'): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(cluster.server().url(database));
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

/** A primary with a source on it, and a standby that follows it; both are started. */
async function pair(label: string): Promise<{ primary: Cluster; standby: Cluster; source: TestSource }> {
  const primary = await started(makeCluster(label));
  await primary.start();
  await primary.server().createDatabase('orders');
  await ask(primary, `select pg_create_physical_replication_slot('${PHYSICAL}', true)`);
  const url = primary.server().url('orders');
  const source = await started(startSource(label, { name: 'orders', url, drop: async () => undefined }));
  const standby = await primary.standbyFrom(await primary.backUp('base'));
  const { password, username } = new URL(url);
  await standby.start({
    primary_conninfo: `host=127.0.0.1 port=${primary.port} user=${username} password=${password} dbname=orders application_name=${PHYSICAL}`,
    primary_slot_name: PHYSICAL,
    hot_standby_feedback: 'on',
    wal_receiver_status_interval: '1',
  });
  await waitFor(
    'the standby to follow',
    async () => (await ask(primary, 'select 1 from pg_stat_replication')).length === 1,
    LIMIT_MS,
  );
  return { primary, standby, source };
}

async function promote({ primary, standby }: { primary: Cluster; standby: Cluster }): Promise<void> {
  await primary.kill();
  await ask(standby, 'select pg_promote()');
}

/**
 * The slot is kept in step from now on; resolves when it would outlive a promotion. Begun once there is a slot: where there is
 * none the standby looks less and less often, up to every 30 s. A primary writes what makes a slot lasting every 15 s, or now.
 */
async function keepInStep({ primary, standby }: { primary: Cluster; standby: Cluster }, slot: string): Promise<void> {
  await ask(standby, 'alter system set sync_replication_slots = on');
  await ask(standby, 'select pg_reload_conf()');
  await waitFor(
    'the slot to be on the standby',
    async () => {
      await ask(primary, 'select pg_log_standby_snapshot()');
      const rows = await ask(standby, `select temporary from pg_replication_slots where slot_name = '${slot}'`);
      return rows[0]?.['temporary'] === false;
    },
    LIMIT_MS,
  );
}

test('failover with a slot in step, under load: nothing lost, nothing again in effect, the same generation', async () => {
  const { primary, standby, source } = await pair('failover');
  await ask(primary, `alter system set synchronous_standby_names = ${PHYSICAL}`);
  await ask(primary, `alter system set synchronized_standby_slots = ${PHYSICAL}`);
  await ask(primary, 'select pg_reload_conf()');
  const subscriber = await started(startSubscriber('query'));
  const urls = [primary.server().url('orders'), standby.server().url('orders')];
  const forwarder = await started(
    startForwarder({ source, subscribers: [subscriber], sourceUrls: urls, guarded: true }),
  );
  await forwarder.live();
  await keepInStep({ primary, standby }, source.slot);
  const load = source.load(300);
  await waitFor('some deliveries', async () => (await subscriber.count()) > 500, LIMIT_MS);
  await promote({ primary, standby });
  await load.stop();
  const promoted = await started(source.at(standby.server().url('orders')));
  await promoted.write(200);
  await forwarder.live();
  await subscriber.complete(promoted);
  expect(await subscriber.differences(promoted)).toEqual([]);
  expect(await ask(standby, 'select generation from source_generation')).toEqual([{ generation: 1 }]);
}, 180_000);

test('failover without a slot in step: it is made anew, in a newer generation; the old primary that comes back is refused', async () => {
  const { primary, standby, source } = await pair('unkept');
  const subscriber = await started(startSubscriber('query'));
  const urls = [primary.server().url('orders'), standby.server().url('orders')];
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber], sourceUrls: urls }));
  await forwarder.live();
  await source.write(500);
  await subscriber.complete(source);
  const [end] = await ask(primary, 'select pg_current_wal_lsn()::text as lsn');
  await waitFor(
    'the standby to have it all',
    async () => (await ask(standby, `select pg_last_wal_replay_lsn() >= '${end?.['lsn']}' as it`))[0]?.['it'] === true,
    LIMIT_MS,
  );
  await promote({ primary, standby });
  const promoted = await started(source.at(standby.server().url('orders')));
  await promoted.append('after the failover');
  await forwarder.live();
  await subscriber.complete(promoted);
  await waitFor('what the journal holds', async () => (await subscriber.differences(promoted)).length === 0, LIMIT_MS);
  expect(await ask(standby, 'select generation from source_generation')).toEqual([{ generation: 2 }]);
  // The old primary comes back, and a forwarder knows of no other.
  await primary.start();
  const misled = await started(
    startForwarder({
      source,
      subscribers: [subscriber],
      sourceUrls: urls.slice(0, 1),
      databaseUrl: forwarder.databaseUrl,
      instance: 'misled',
    }),
  );
  const refused = await waitFor(
    'it to be refused',
    async () => (await misled.list()).sources.find(({ state }) => state === 'misconfigured'),
    LIMIT_MS,
  );
  expect(refused.reason).toContain('its timeline is 1, and 2 was followed before');
  expect((await forwarder.list()).sources[0]?.state).toBe('leading');
}, 180_000);
