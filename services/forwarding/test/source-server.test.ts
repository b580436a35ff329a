// With a PostgreSQL server of its own, which is killed, and whose slots are capped at next to nothing.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type Server, startServer } from '@ballast/database/embedded';
import { freshCluster, waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource, type TestSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const directory = mkdtempSync(join(tmpdir(), 'ballast-source-'));
chmodSync(directory, 0o711); // entered by the user that PostgreSQL runs as
let server: Server;
let port: number;

async function start(): Promise<Server> {
  return startServer({
    dataDir: join(directory, 'data'),
    logFile: join(directory, 'log'),
    port,
    settings: { max_slot_wal_keep_size: '16MB', max_wal_size: '64MB', shared_buffers: '64MB' },
  });
}

beforeAll(async () => {
  port = await freePort();
  freshCluster(join(directory, 'data'));
  server = await start();
});

afterAll(async () => {
  await server.stop();
  rmSync(directory, { recursive: true });
});

async function sourceHere(name: string): Promise<TestSource> {
  await server.createDatabase(name);
  return started(startSource(name, { name, url: server.url(name), drop: async () => undefined }));
}

test('kill -9 of the source under load: forwarding comes back by itself, complete and in order', async () => {
  const source = await sourceHere('killed');
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  const load = source.load(500);
  for (let kills = 0; kills < 2; kills++) {
    const before = await subscriber.count();
    await waitFor('some deliveries', async () => (await subscriber.count()) > before + 300, 20_000);
    process.kill(server.pid, 'SIGKILL');
    server = await start();
  }
  await waitFor('the load to go on', async () => {
    const before = await subscriber.count();
    return waitFor('one more', async () => (await subscriber.count()) > before);
  });
  await load.stop();
  await forwarder.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 120_000);

test('a slot that its cap has invalidated is made anew, and the journal fills what it lost', async () => {
  const source = await sourceHere('capped');
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await forwarder.kill('SIGKILL');
  await waitFor(
    'the slot to be lost',
    async () => {
      await source.write(3_000, 200);
      await source.query('checkpoint');
      const { rows } = await source.query('select wal_status from pg_replication_slots where slot_name = $1', [
        source.slot,
      ]);
      return rows[0].wal_status === 'lost';
    },
    60_000,
  );
  await forwarder.start();
  await forwarder.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
  expect(forwarder.log()).toContain('it was invalidated');
}, 120_000);
