// Four processes that follow, flipped under load, killed, and left without their control database. The server is this
// file's own, because it is killed too.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Server, startServer } from '@ballast/database/embedded';
import { freshCluster, waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ControlStore, ControlUnavailable, migrateControl, type Outcome, openControlStore } from '../src/index.ts';
import { type FollowerProcess, followerProcess, freshDir, seeing, signInFirst } from './support/control.ts';

const INSTANCES = ['one', 'two', 'three', 'four'];
const FLIPS = 60;
/** Node takes seconds to start where the machine is shared with the other test files. */
const STARTS_WITHIN_MS = 40_000;

const base = mkdtempSync(join(tmpdir(), 'ballast-flips-'));
chmodSync(base, 0o711);
const dirs = INSTANCES.map(freshDir);
let server: Server;
let url: string;
let store: ControlStore;
let followers: FollowerProcess[] = [];

const startDatabase = (port?: number) =>
  startServer({
    dataDir: join(base, 'data'),
    logFile: join(base, 'postgres.log'),
    settings: { shared_buffers: '32MB' },
    ...(port === undefined ? {} : { port }),
  });

function startFollowers(): void {
  followers = INSTANCES.map((instance, at) => followerProcess(url, instance, dirs[at] ?? ''));
}

async function killAll(): Promise<void> {
  await Promise.all(followers.map((follower) => follower.kill()));
}

async function killDatabase(): Promise<void> {
  process.kill(server.pid, 'SIGKILL');
  await waitFor('the server is gone', () => !isAlive(server.pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH
  }
}

const flip = async (kind: 'forced_open' | 'drain', lastsMs = 600_000): Promise<Outcome> =>
  store.setOverride(
    { channel: 'bank_a', operations: ['pay'], setting: { kind }, lastsMs },
    await seeing(store, 'bank_a'),
  );
const allHold = (gate: string, source: string) => () =>
  followers.every((follower) => {
    const last = follower.last();
    const gates = last?.gates.filter((held) => held.startsWith('bank_a '));
    return gates?.join() === gate && last?.source === source;
  });
const names = (outcome: Outcome) => outcome.applied.map(({ name }) => name).sort();

beforeAll(async () => {
  freshCluster(join(base, 'data'));
  server = await startDatabase();
  await server.createDatabase('control');
  url = server.url('control');
  await migrateControl(url);
  store = openControlStore({ url, stateDir: freshDir() });
  await signInFirst(store);
  startFollowers();
  await waitFor('four instances', async () => (await store.instances()).length === 4, STARTS_WITHIN_MS);
});
afterAll(async () => {
  await killAll();
  await store.close();
  await server.stop();
  rmSync(base, { recursive: true, force: true });
});

test('under load a flip is applied by all four processes, p99 within a second', async () => {
  // Other changes and looks at the same time, through connections of their own.
  let loading = true;
  const others = Array.from({ length: 4 }, async (_, at) => {
    const other = openControlStore({ url });
    const channel = `bank_load_${at}`;
    while (loading) {
      const setting = { kind: 'percent_open', share: 0.5 } as const;
      await other.setOverride({ channel, operations: ['pay'], setting }, await seeing(other, channel));
      await other.audit(null, 100);
    }
    await other.close();
  });
  const took: number[] = [];
  for (let count = 0; count < FLIPS; count++) {
    const started = performance.now();
    const outcome = await flip(count % 2 === 0 ? 'forced_open' : 'drain');
    took.push(performance.now() - started);
    expect(names(outcome)).toEqual([...INSTANCES].sort());
  }
  loading = false;
  await Promise.all(others);
  took.sort((a, b) => a - b);
  const quantile = (share: number) => Math.round(took[Math.ceil(took.length * share) - 1] ?? 0);
  console.log(
    `${FLIPS} flips, to the acknowledgement of 4 processes: p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms`,
  );
  expect(quantile(0.99)).toBeLessThan(1_000);
  expect((await store.verifyAudit()).broken).toBeNull();
}, 120_000);

test('an override survives kill -9 of every follower and of the database, and holds while the database is down', async () => {
  const { version } = await flip('forced_open');
  const beforeItDied = await seeing(store, 'bank_a');
  await killDatabase();
  await killAll();
  startFollowers();
  await waitFor('all four hold it from their disks', allHold('bank_a forced_open', 'disk'), STARTS_WITHIN_MS);

  // A switch while the database is away fails, says so, and is audited afterwards.
  const change = { ...beforeItDied, reason: 'while it is down', seen: version };
  const away = store.setOverride({ channel: 'bank_a', operations: ['pay'], setting: { kind: 'drain' } }, change);
  await expect(away).rejects.toBeInstanceOf(ControlUnavailable);
  expect(allHold('bank_a forced_open', 'disk')()).toBe(true);

  server = await startDatabase(server.port);
  await waitFor('all four follow again', allHold('bank_a forced_open', 'control'), STARTS_WITHIN_MS);
  const [override] = await store.overrides('bank_a', 1);
  expect(override).toMatchObject({ version, state: 'active', kind: 'forced_open' });
  const outcome = await flip('drain');
  expect(names(outcome)).toEqual([...INSTANCES].sort());
  const tries = await store.audit('channel:bank_a', 3);
  expect(tries.find((entry) => entry['reason'] === 'while it is down')).toMatchObject({ outcome: 'failed' });
  expect((await store.verifyAudit()).broken).toBeNull();
}, 120_000);

test('an override ends on time while the database is down and every process was restarted meanwhile', async () => {
  await flip('forced_open', 10_000);
  await killDatabase();
  await killAll();
  startFollowers();
  await waitFor('held from disk', allHold('bank_a forced_open', 'disk'), STARTS_WITHIN_MS);
  await waitFor('ended', allHold('', 'disk'), 20_000);
  server = await startDatabase(server.port);
  await waitFor('connected', allHold('', 'control'), STARTS_WITHIN_MS);
}, 120_000);
