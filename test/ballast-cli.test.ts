// The operators' command line, run as they run it, against a control database and a process that follows it.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ControlFollower,
  type ControlState,
  followControl,
  migrateControl,
  openControlStore,
} from '@ballast/control';
import { freshDatabase } from '@ballast/database/testing';
import { defaultRules } from '@ballast/resilience';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

// Each call is a process of its own, and the machine is shared with the other test files.
vi.setConfig({ testTimeout: 120_000 });

const PASSWORD = 'correct horse battery';
const dir = mkdtempSync(join(tmpdir(), 'ballast-cli-'));
let database: Awaited<ReturnType<typeof freshDatabase>>;
let follower: ControlFollower;
let state: ControlState;
let refuseAll = false;

beforeAll(async () => {
  database = await freshDatabase('cli');
  await migrateControl(database.url);
  for (const [name, role] of [
    ['ann', 'first-admin'],
    ['ben', 'operator'],
    ['vera', 'viewer'],
  ] as const) {
    const words = role === 'first-admin' ? ['first-admin', name] : ['add', name, '--role', role];
    expect(await ballast(['operator', ...words, '--reason', 'the team'])).toMatchObject({ code: 0, err: '' });
  }
  follower = await followControl({
    url: database.url,
    service: 'test',
    instance: 'collection-1',
    stateDir: dir,
    log: { info: () => undefined, warn: () => undefined },
    onChange: (next) => {
      if (refuseAll) throw new Error('not now');
      state = next;
    },
  });
});
afterAll(async () => {
  await follower.close();
  await database.drop();
  rmSync(dir, { recursive: true, force: true });
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** By ann, the admin, unless the words say `--as`. */
function ballast(words: readonly string[], url = database.url, password: string | undefined = PASSWORD): Promise<Ran> {
  const env = {
    ...process.env,
    BALLAST_OPERATOR: 'ann',
    BALLAST_PASSWORD: password,
    BALLAST_NEW_PASSWORD: PASSWORD,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, ['scripts/ballast.ts', ...words, '--control-url', url], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}
const gates = () => state.overrides.map(({ channel, setting }) => `${channel} ${setting.kind}`);

test('a channel is closed, shown and opened again; each answer names who has applied it', async () => {
  const closed = await ballast(['channel', 'close', 'bank_a', '--reason', 'bank asked', '--for', '10m']);
  expect(closed).toMatchObject({ code: 0, err: '' });
  expect(closed.out).toContain('applied by collection-1');
  expect(gates()).toEqual(['bank_a forced_open']);
  const shown = await ballast(['channel', 'show', 'bank_a']);
  expect(shown.out).toMatch(/forced_open on pay until .* \(bank asked\)/);
  expect((await ballast(['channel', 'open', 'bank_a', '--reason', 'well again'])).code).toBe(0);
  expect(gates()).toEqual([]);
  const history = await ballast(['channel', 'history', 'bank_a']);
  expect(history.out).toMatch(/end_override[\s\S]*set_override/);
});

// Each is a process that changes nothing.
test.concurrent.each<[string, string[], number, RegExp]>([
  ['no reason', ['channel', 'drain', 'bank_b'], 2, /needs a reason/],
  ['a reversal covered', ['channel', 'close', 'bank_b', '--reason', 'x', '--operations', 'reversal'], 2, /never cover/],
  ['over a day', ['channel', 'drain', 'bank_b', '--reason', 'x', '--for', '25h'], 2, /24 h/],
  ['an odd duration', ['channel', 'drain', 'bank_b', '--reason', 'x', '--for', 'soon'], 2, /like 90s/],
  ['an unknown operation', ['channel', 'drain', 'bank_b', '--reason', 'x', '--operations', 'steal'], 2, /none of/],
  [
    'rules by an operator',
    ['rules', 'drop', 'channel:bank_b:pay', '--reason', 'x', '--as', 'ben'],
    2,
    /needs the role admin/,
  ],
  ['anything by a viewer', ['channel', 'close', 'bank_b', '--reason', 'x', '--as', 'vera'], 2, /this is a viewer/],
  ['nobody we know', ['channel', 'close', 'bank_b', '--reason', 'x', '--as', 'eve'], 2, /could not sign in/],
  ['an unknown command', ['chanel', 'list'], 2, /There is no command/],
  ['an unknown action', ['channel', 'explode', 'bank_b'], 2, /there is no "explode"/],
  ['forced closed by whim', ['channel', 'force-closed', 'bank_b', '--reason', 'x'], 2, /--confirm bank_b/],
  ['to only measure by whim', ['channel', 'metrics-only', 'bank_b', '--reason', 'x'], 2, /--confirm bank_b/],
  [
    'a version that is not the present one',
    ['channel', 'drain', 'bank_b', '--reason', 'x', '--if-match', '999'],
    1,
    /look again/,
  ],
  ['a drill without its duration', ['drill', 'start', 'bank_b', 'reset', '--reason', 'x'], 2, /--for 10m/],
  ['an unknown fault', ['drill', 'start', 'bank_b', 'fire', '--for', '1m', '--reason', 'x'], 2, /fault "fire"/],
])('%s: refused with its own exit code and sentence', async (_name, words, code, sentence) => {
  const ran = await ballast(words);
  expect([ran.code, ran.out + ran.err]).toEqual([code, expect.stringMatching(sentence)]);
  expect(gates().filter((gate) => gate.startsWith('bank_b'))).toEqual([]);
});

test('forced closed waits for a second person; the glass is broken by one', async () => {
  const asked = await ballast(['channel', 'force-closed', 'bank_e', '--confirm', 'bank_e', '--reason', 'it is well']);
  expect(asked).toMatchObject({ code: 0, out: expect.stringMatching(/second person[\s\S]*Nothing has changed yet/) });
  expect(gates()).toEqual([]);
  const id = /prp_[0-9a-f-]+/.exec(asked.out)?.[0] ?? '';
  expect((await ballast(['proposal', 'list'])).out).toMatch(/waiting .*bank_e/);
  expect(await ballast(['confirm', id, '--reason', 'me again'])).toMatchObject({ code: 2 });
  expect((await ballast(['confirm', id, '--reason', 'seen it too', '--as', 'ben'])).code).toBe(0);
  expect(gates()).toEqual(['bank_e forced_closed']);
  expect((await ballast(['channel', 'open', 'bank_e', '--reason', 'over', '--as', 'ben'])).code).toBe(0);
  const alone = ['channel', 'force-closed', 'bank_e', '--confirm', 'bank_e', '--reason', 'nobody here', '--as', 'ben'];
  expect((await ballast([...alone, '--break-glass'])).code).toBe(0);
  expect((await ballast(['audit', 'channel:bank_e', '--limit', '1'])).out).toMatch(/ben .*"break_glass":true/);
  expect((await ballast(['channel', 'open', 'bank_e', '--reason', 'over'])).code).toBe(0);
});

test('operators are listed, disabled, and sign in with their own password only', async () => {
  const wrong = await ballast(['channel', 'close', 'bank_b', '--reason', 'x'], database.url, 'wrong wrong wrong');
  expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining('could not sign in')]);
  expect((await ballast(['operator', 'disable', 'vera', '--reason', 'left'])).code).toBe(0);
  expect((await ballast(['operator', 'list'])).out).toMatch(/vera +viewer +true/);
  expect((await ballast(['audit', 'operators'])).out).toMatch(/sign_in[\s\S]*add_first_admin/);
});

test('a control database that does not answer is exit code 3', async () => {
  const url = new URL(database.url);
  url.port = '1';
  expect((await ballast(['channel', 'drain', 'bank_b', '--reason', 'x', '--if-match', '0'], url.href)).code).toBe(3);
});

test('a process that did not apply it is named, and the exit code is 1', async () => {
  refuseAll = true;
  const ran = await ballast(['channel', 'percent', 'bank_c', '25', '--reason', 'half open']);
  refuseAll = false;
  expect(ran.code).toBe(1);
  expect(ran.out).toMatch(/NOT applied by collection-1 \(it is at version \d+\): .*not now/);
});

test('rules, limits, drills and maintenance windows are set and listed', async () => {
  const { version: _, ...rules } = defaultRules;
  const file = join(dir, 'rules.json');
  writeFileSync(file, JSON.stringify({ ...rules, timeout: { mode: 'fixed', ms: 4_321 } }));
  expect((await ballast(['rules', 'put', 'channel:bank_d:pay', file, '--reason', 'slower bank'])).code).toBe(0);
  expect((await ballast(['rules', 'get', 'channel:bank_d:pay'])).out).toContain('4321');
  expect((await ballast(['rules', 'drop', 'channel:bank_d:pay', '--reason', 'back'])).code).toBe(0);
  expect((await ballast(['rules', 'get', 'channel:bank_d:pay'])).code).toBe(1);
  expect((await ballast(['channel', 'limit', 'bank_d', '--per-second', '50', '--reason', 'gently'])).code).toBe(0);
  expect(
    (await ballast(['channel', 'maintenance', 'bank_d', '--in', '2h', '--for', '1h', '--reason', 'night'])).code,
  ).toBe(0);
  const listed = await ballast(['override', 'list', 'bank_d']);
  expect(listed.out).toMatch(/scheduled .*maintenance/);
  expect(gates()).toContain('bank_d limit');
  const drill = ['drill', 'start', 'bank_d', 'latency', '--ms', '200', '--for', '1m', '--reason', 'practice'];
  const started = await ballast(drill);
  const id = /drl_[0-9a-f-]+/.exec(started.out)?.[0] ?? '';
  expect(state.drills.map((one) => one.id)).toEqual([id]);
  expect((await ballast(['drill', 'stop', id, '--reason', 'enough'])).code).toBe(0);
  expect((await ballast(['drill', 'list'])).out).toMatch(/stopped/);
});

test('the audit is shown and verified, and a broken chain is exit code 1', async () => {
  const verified = await ballast(['audit', '--verify']);
  expect([verified.code, verified.out]).toEqual([0, expect.stringContaining('The chain is whole')]);
  expect((await ballast(['audit', '--verify', '--anchor', `7:${'0'.repeat(64)}`])).code).toBe(1);
  expect((await ballast(['audit'])).out).toMatch(/refused .*needs a reason/);
  expect((await ballast(['instances'])).out).toContain('collection-1');
});

test('after a restore is declared, every process follows the new generation', async () => {
  expect((await ballast(['restored', '--reason', 'restored from backup'])).code).toBe(0);
  expect(follower.status().generation).toBe(2);
  const store = openControlStore({ url: database.url });
  expect((await store.verifyAudit()).broken).toBeNull();
  await store.close();
});
