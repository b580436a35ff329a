// A follower keeps what it knows, through everything that can happen to the control database.
import { randomUUID } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '@ballast/database/testing';
import { defaultRules } from '@ballast/resilience';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ControlStore, type OverrideRequest, openControlStore, shareOf } from '../src/index.ts';
import { follow, freshControl, freshDir, seeing, type TestFollower } from './support/control.ts';
import { openProxy } from './support/proxy.ts';

let control: Awaited<ReturnType<typeof freshControl>>;
let store: ControlStore;
let sql: pg.Client;
const followers: TestFollower[] = [];

beforeEach(async () => {
  control = await freshControl('follow');
  ({ store } = control);
  sql = new pg.Client(control.url);
  sql.on('error', () => undefined); // its database is renamed and terminated by one of the tests
  await sql.connect();
});
afterEach(async (context) => {
  for (const follower of followers.splice(0)) await follower.close();
  await store.close();
  await sql.end();
  if (context.task.result?.state !== 'fail') await control.drop();
});

async function start(...args: Parameters<typeof follow>): Promise<TestFollower> {
  const follower = await follow(...args);
  followers.push(follower);
  return follower;
}

const { version: _, ...rules } = defaultRules;
const onBankA: OverrideRequest = { channel: 'bank_a', operations: ['pay'], setting: { kind: 'forced_open' } };
const kinds = (follower: TestFollower) => follower.state().overrides.map(({ setting }) => setting.kind);
const setOn = async (request: OverrideRequest = onBankA) => store.setOverride(request, await seeing(store, 'bank_a'));
/** Nothing listens there. */
const dead = () => Object.assign(new URL(control.url), { port: '1' }).href;

test('with no rules at all it says that the built-in ones hold', async () => {
  const follower = await start(undefined);
  expect(follower.status()).toMatchObject({ source: 'built_in', connected: false, version: 0 });
  expect(follower.seen).toHaveLength(1);
});

test('a flip is acknowledged only when each connected instance has applied it', async () => {
  const one = await start(control.url, { instance: 'one' });
  const two = await start(control.url, { instance: 'two' });
  const outcome = await setOn();
  expect(outcome.applied.map(({ name }) => name)).toEqual(['one', 'two']);
  expect(outcome.lagging).toEqual([]);
  expect([kinds(one), kinds(two)]).toEqual([['forced_open'], ['forced_open']]);
});

test('an instance that cannot apply a version is named as lagging, with its problem, and keeps what it had', async () => {
  const follower = await start(control.url, {
    onChange: ({ overrides }) => {
      if (overrides.length > 0) throw new Error('not with me');
    },
  });
  const { applied, lagging } = await setOn();
  expect(applied).toEqual([]);
  expect(lagging[0]).toMatchObject({ name: 'test-1', appliedVersion: 1 });
  expect(lagging[0]?.problem).toContain('not with me');
  expect(follower.status().version).toBe(1);
});

test('an override ends by database time, also when the wall clock of the service jumps', async () => {
  const follower = await start(control.url);
  const before = Date.now;
  Date.now = () => before() + 3_600_000;
  try {
    await setOn({ ...onBankA, lastsMs: 1_000 });
    expect(kinds(follower)).toEqual(['forced_open']);
    await waitFor('its end', () => follower.seen.at(-1)?.overrides.length === 0);
    const { rows } = await sql.query('select clock_timestamp() - expires_at between $1 and $2 as ok from override', [
      '-50 ms',
      '1 s',
    ]);
    expect(rows[0].ok).toBe(true);
  } finally {
    Date.now = before;
  }
});

test('with the control database dead it starts from its disk, says so, and overrides still end on time', async () => {
  const stateDir = freshDir();
  const first = await start(control.url, { stateDir });
  await setOn({ ...onBankA, lastsMs: 2_500 });
  await store.putRules({ kind: 'channel', channel: 'bank_a', operation: 'pay' }, rules, await seeing(store, 'bank_a'));
  await first.close();
  const second = await start(dead(), { stateDir });
  expect(second.status()).toMatchObject({ source: 'disk', connected: false, version: 3 });
  expect(kinds(second)).toEqual(['forced_open']);
  expect(second.state().channels).toMatchObject([{ channel: 'bank_a', operation: 'pay', version: 3 }]);
  await waitFor('its end', () => kinds(second).length === 0);
});

test.each([
  ['half a file', '{"format":1,"docu'],
  ['another program’s file', '{"hello":true}'],
  ['a null', 'null'],
  ['nonsense where numbers belong', '{"time":{"database_ms":"x"},"document":{"generation":-1}}'],
])('%s on disk is left alone, and the service’s own database is asked', async (_name, text) => {
  const stateDir = freshDir();
  const kept: unknown[] = [];
  const first = await start(control.url, { persist: async (copy) => void kept.push(JSON.parse(JSON.stringify(copy))) });
  await setOn();
  await first.close();
  mkdirSync(stateDir, { recursive: true });
  writeFileSync(join(stateDir, 'control.json'), text);
  const second = await start(dead(), { stateDir, loadPersisted: async () => kept.at(-1) });
  expect(second.status()).toMatchObject({ source: 'persisted', version: 2 });
  expect(kinds(second)).toEqual(['forced_open']);
});

test('a service database that never answers, or throws, does not keep the service from starting', async () => {
  const thrown = await start(undefined, { loadPersisted: () => Promise.reject(new Error('away')) });
  const silent = await start(undefined, { loadPersisted: () => new Promise(() => undefined) });
  expect([thrown.status().source, silent.status().source]).toEqual(['built_in', 'built_in']);
});

test('a control database that comes back old changes nothing, until its generation is raised', async () => {
  const name = new URL(control.url).pathname.slice(1);
  const server = new pg.Client(Object.assign(new URL(control.url), { pathname: '/postgres' }).href);
  await server.connect();
  const follower = await start(control.url);
  await setOn();
  // Version 1 made the first admin. A backup at version 2; then version 3; then the backup is restored.
  await sql.end();
  await store.close();
  await follower.close();
  await server.query(`create database ${name}_backup template ${name}`);
  ({ store } = reopen());
  const second = await start(control.url, { stateDir: freshDir(), instance: 'second' });
  await setOn({ ...onBankA, setting: { kind: 'drain' } });
  expect(second.status().version).toBe(3);
  await store.close();
  for (const [from, to] of [
    [name, `${name}_new`],
    [`${name}_backup`, name],
  ]) {
    await server.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [from]);
    await server.query(`alter database ${from} rename to ${to}`);
  }
  ({ store } = reopen());
  await waitFor('it says so', () => second.status().problem?.includes('came back old: version 2, and 3 was applied'));
  expect(kinds(second)).toEqual(['drain']);

  // Changed on from there, it has the same version again with another history: still refused.
  const other = await setOn({ ...onBankA, setting: { kind: 'maintenance' } });
  expect(other.version).toBe(3);
  expect(other.lagging.find(({ name: who }) => who === 'second')?.problem).toMatch(/another history|came back old/);
  await waitFor('it says so', () => second.status().problem?.includes('another history at version 3'));
  expect(kinds(second)).toEqual(['drain']);

  const seen = await store.versionOf('control');
  const { applied } = await store.declareRestored({
    ...(await seeing(store, 'bank_a')),
    reason: 'restored from backup',
    seen,
  });
  expect(applied.map(({ name: who }) => who)).toContain('second');
  expect(kinds(second)).toEqual(['maintenance']);
  expect(second.status()).toMatchObject({ generation: 2, problem: null });
  await second.close();
  await server.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [`${name}_new`]);
  await server.query(`drop database ${name}_new`);
  await server.end();

  function reopen() {
    return { store: openControlStore({ url: control.url }) };
  }
});

test('nonsense in one entry keeps the last good one there, is told, and does not hold up another channel', async () => {
  const follower = await start(control.url);
  const target = { kind: 'channel', channel: 'bank_b', operation: 'pay' } as const;
  await store.putRules(target, rules, await seeing(store, 'bank_b'));
  await sql.query(`insert into rule_set (version, target, rules, author, reason)
    values (1000000, 'channel:bank_b:pay', '{"bulkhead":{"maxInFlight":-5}}', 'nobody', 'by hand')`);
  const { lagging } = await setOn();
  expect(lagging[0]?.problem).toMatch(/rules bank_b pay: .* the last good one stays/);
  expect(kinds(follower)).toEqual(['forced_open']);
  expect(follower.state().channels).toMatchObject([{ channel: 'bank_b', version: 2, rules }]);
  await store.close();
  await sql.query('alter table rule_set disable trigger user');
  await sql.query('delete from rule_set where version = 1000000');
  await waitFor('it is well again', () => follower.status().problem === null);
});

test('a document that is nonsense altogether is refused and the last good one stays', async () => {
  const follower = await start(control.url);
  await setOn();
  await sql.query('alter table control_head drop constraint control_head_generation_check');
  await sql.query('update control_head set version = -7, generation = 9');
  await waitFor('it says so', () => follower.status().problem?.includes('not a control document'));
  expect(follower.status().version).toBe(2);
  expect(kinds(follower)).toEqual(['forced_open']);
});

test('a connection that died without a word is replaced by the poll within a second', async () => {
  const proxy = await openProxy(control.url);
  const follower = await start(proxy.url);
  for (let round = 0; round < 3; round++) {
    proxy.deafen();
    const started = performance.now();
    const { applied, lagging } = await setOn({
      ...onBankA,
      setting: { kind: round % 2 === 0 ? 'drain' : 'forced_open' },
    });
    expect([applied.length, lagging.length]).toEqual([1, 0]);
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(follower.status().connected).toBe(true);
  }
  proxy.close();
});

test('a notification that never comes costs one poll', async () => {
  await sql.query('alter table control_head disable trigger control_head_changed');
  await start(control.url);
  const started = performance.now();
  expect((await setOn()).lagging).toEqual([]);
  expect(performance.now() - started).toBeLessThan(1_000);
});

test('an instance that was cut off is named, and waited for no longer than a second', async () => {
  const proxy = await openProxy(control.url);
  const follower = await start(proxy.url, { instance: 'cut-off' });
  proxy.close();
  await waitFor('it notices', () => !follower.status().connected);
  const started = performance.now();
  const { lagging } = await setOn();
  expect(lagging).toMatchObject([{ name: 'cut-off', appliedVersion: 1 }]);
  expect(performance.now() - started).toBeLessThan(1_500);
});

test('a disk that cannot be written is told, and the override is in force all the same', async () => {
  const stateDir = join(freshDir(), 'a-file');
  appendFileSync(stateDir, '');
  const follower = await start(control.url, { stateDir });
  const { lagging } = await setOn();
  expect(lagging[0]?.problem).toContain('not kept on disk');
  expect(kinds(follower)).toEqual(['forced_open']);
});

test('what is on disk is readable JSON with the document, written for its owner only', async () => {
  const stateDir = freshDir();
  await start(control.url, { stateDir });
  await setOn();
  const kept = JSON.parse(readFileSync(join(stateDir, 'control.json'), 'utf8'));
  expect(kept.document).toMatchObject({ version: 2, overrides: [{ channel: 'bank_a' }] });
});

test('a drill ends everywhere when one instance meets its stop condition, and its report is kept', async () => {
  const one = await start(control.url, { instance: 'one' });
  const two = await start(control.url, { instance: 'two' });
  const stopWhen = { minimumCalls: 10, failureRate: 0.5, slowestMs: null, breakerOpens: true };
  const request = { channel: 'bank_a', operations: ['pay'], traffic: 'coloured', share: 0.2, lastsMs: 60_000 } as const;
  const fault = { kind: 'latency', ms: 300 } as const;
  const { id } = await store.startDrill({ ...request, fault, stopWhen }, await seeing(store, 'bank_a'));
  expect(two.state().drills).toMatchObject([{ id, fault, share: 0.2 }]);
  one.reportDrill({ drill: id ?? '', tripped: true, why: '6 of 10 calls failed', numbers: { calls: 10, failed: 6 } });
  expect(one.state().drills).toEqual([]);
  await waitFor('the other follows', () => two.state().drills.length === 0, 1_000);
  const [drill] = await store.drills('bank_a', 1);
  expect(drill).toMatchObject({ state: 'tripped', reports: [{ instance: 'one', why: '6 of 10 calls failed' }] });
});

test('the report of a drill that the control database knows nothing of keeps back neither others nor the connection', async () => {
  const follower = await start(control.url);
  const report = { tripped: false, why: 'it goes on', numbers: { calls: 1 } };
  follower.reportDrill({ ...report, drill: `drl_${randomUUID()}` }); // it was restored to before the drill
  const fault = { kind: 'latency', ms: 300 } as const;
  const stopWhen = { minimumCalls: 10, failureRate: 0.5, slowestMs: null, breakerOpens: false };
  const request = { channel: 'bank_a', operations: ['pay'], traffic: 'coloured', share: 0.2, lastsMs: 60_000 } as const;
  const { id } = await store.startDrill({ ...request, fault, stopWhen }, await seeing(store, 'bank_a'));
  follower.reportDrill({ ...report, drill: id ?? '' });
  const reports = async () => (await sql.query('select count(*)::int as count from drill_report')).rows[0].count;
  await waitFor('the other report', async () => (await reports()) === 1);
  expect(follower.status().connected).toBe(true);
});

test('a drill is over after a crash, and where the control database cannot be asked', async () => {
  const proxy = await openProxy(control.url);
  const stateDir = freshDir();
  const follower = await start(proxy.url, { stateDir });
  const stopWhen = { minimumCalls: 10, failureRate: null, slowestMs: null, breakerOpens: false };
  await store.startDrill(
    {
      channel: 'bank_a',
      operations: ['pay'],
      traffic: 'all',
      share: 1,
      fault: { kind: 'timeout' },
      stopWhen,
      lastsMs: 600_000,
    },
    await seeing(store, 'bank_a'),
  );
  expect(follower.state().drills).toHaveLength(1);
  proxy.close();
  await waitFor('it ends', () => follower.seen.at(-1)?.drills.length === 0, 5_000);
  const restarted = await start(dead(), { stateDir });
  expect(restarted.status()).toMatchObject({ source: 'disk', version: 2 });
  expect(restarted.state().drills).toEqual([]);
});

test('a cluster’s quota is shared, never exceeded, and a dead instance’s share returns', async () => {
  const clusterRules = { ...rules, rate: { ...rules.rate, mode: 'enforce', scope: 'cluster' } };
  const target = { kind: 'channel', channel: 'bank_a', operation: 'pay' } as const;
  await store.putRules(target, clusterRules, await seeing(store, 'bank_a'));
  const leases = () => true;
  const share = (follower: TestFollower) => shareOf(follower.state().shares, 'channel:bank_a:pay');
  const one = await start(control.url, { instance: 'one', leases });
  await waitFor('all of it', () => share(one) === 1);
  const proxy = await openProxy(control.url);
  const two = await start(proxy.url, { instance: 'two', leases });
  const three = await start(control.url, { instance: 'three', leases });
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, share(one) + share(two) + share(three));
  }, 1);
  const third = (follower: TestFollower) => Math.abs(share(follower) - 1 / 3) < 1e-9;
  await waitFor('a third each', () => third(one) && third(two) && third(three));
  clearInterval(watch);
  expect(most).toBeLessThanOrEqual(1 + 1e-9);
  proxy.close();
  await waitFor('halves', () => share(one) === 0.5 && share(three) === 0.5);
  expect(third(two)).toBe(true);
});
