// Random faults over two forwarders, PostgreSQL and two subscribers, each after some more events have come through.
// FORWARDING_FAULTS=200 FORWARDING_SEED=7 makes a long run of it; the seed is in the test's name.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type Server, startServer } from '@ballast/database/embedded';
import { freshCluster, waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const FAULTS = Number(process.env['FORWARDING_FAULTS'] ?? 10);
const SEED = Number(process.env['FORWARDING_SEED'] ?? Date.now() % 100_000);
const LONGEST_FAULT_MS = 20_000;

const directory = mkdtempSync(join(tmpdir(), 'ballast-faults-'));
chmodSync(directory, 0o711); // entered by the user that PostgreSQL runs as
let server: Server;
let port: number;

function start(): Promise<Server> {
  return startServer({
    dataDir: join(directory, 'data'),
    logFile: join(directory, 'log'),
    port,
    settings: { max_slot_wal_keep_size: '64MB', shared_buffers: '64MB' },
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

test(
  `${FAULTS} random faults, seed ${SEED}: nothing lost, nothing twice, nothing out of order`,
  async () => {
    const random = randomFrom(SEED);
    await server.createDatabase('faults');
    const url = server.url('faults');
    const source = await started(startSource('faults', { name: 'faults', url, drop: async () => undefined }));
    const subscribers = [await started(startSubscriber('query')), await started(startSubscriber('sync'))] as const;
    const first = await started(startForwarder({ source, subscribers }));
    const { databaseUrl } = first;
    const second = await started(startForwarder({ source, subscribers, instance: 'forwarding-2', databaseUrl }));
    const one = <T>(items: readonly [T, T]): T => (random() < 0.5 ? items[0] : items[1]);
    const unlessAway = () => undefined;

    const faults: Readonly<Record<string, () => Promise<unknown>>> = {
      killForwarder: async () => {
        const forwarder = one([first, second]);
        await forwarder.kill('SIGKILL');
        await forwarder.start();
      },
      freezeForwarder: async () => {
        const forwarder = one([first, second]);
        await forwarder.kill('SIGSTOP');
        await moreEvents(Math.ceil(random() * 200)).finally(() => forwarder.wake());
      },
      cutEverybody: () =>
        source
          .query(`select pg_terminate_backend(pid) from pg_stat_activity
                where pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')`)
          .catch(unlessAway),
      dropSlot: async () => {
        await source
          .query('select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1', [
            source.slot,
          ])
          .catch(unlessAway);
        await source.query('select pg_drop_replication_slot($1)', [source.slot]).catch(unlessAway); // or it was quicker
      },
      subscriberDown: async () => {
        const subscriber = one(subscribers);
        const other = subscribers.find((it) => it !== subscriber);
        await subscriber.down();
        const before = (await other?.count()) ?? 0;
        await waitFor('the other to go on', async () => ((await other?.count()) ?? 0) > before + 100, LONGEST_FAULT_MS);
        await subscriber.up();
      },
      killPostgres: async () => {
        process.kill(server.pid, 'SIGKILL');
        server = await start();
      },
    };

    async function moreEvents(count: number): Promise<void> {
      const before = await subscribers[0].count();
      await waitFor('more events', async () => (await subscribers[0].count()) > before + count, LONGEST_FAULT_MS);
    }

    const load = source.load(400);
    const names = Object.keys(faults);
    for (let done = 0; done < FAULTS; done++) {
      await moreEvents(Math.ceil(random() * 300));
      await faults[names[Math.floor(random() * names.length)] ?? '']?.();
    }
    await load.stop();
    for (const subscriber of subscribers) {
      await subscriber.complete(source);
      expect(await subscriber.differences(source)).toEqual([]);
    }
  },
  60_000 + FAULTS * LONGEST_FAULT_MS,
);

/** A small generator of our own, so that a seed means the same everywhere (Numerical Recipes' constants). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
