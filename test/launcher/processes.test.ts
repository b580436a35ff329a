// What the launcher may end, who may hold a folder, and what it does with a child that dies.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '@ballast/database/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { layoutOf } from '../../scripts/system/layout.ts';
import { AlreadyRunning, holderOf, takeLock } from '../../scripts/system/lock.ts';
import { endProcess, identityOf, processesNaming } from '../../scripts/system/processes.ts';
import { createSteps, StepFailed, StopAsked } from '../../scripts/system/steps.ts';
import { supervise } from '../../scripts/system/supervise.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ballast-launcher-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const forEver = 'setInterval(() => 0, 1e6)';
const deaf = `process.on('SIGTERM', () => 0); ${forEver}`;

function child(script: string, ...args: string[]) {
  const started = spawn(process.execPath, ['-e', script, '--', ...args], { stdio: 'ignore' });
  if (started.pid === undefined) throw new Error('no child');
  return started.pid;
}

test('only a process whose arguments name our file is found', async () => {
  const ours = child(forEver, join(folder, 'a.json'));
  const others = child(forEver, join(folder, 'a.json.old'));
  try {
    await waitFor('the child to show its arguments', () => processesNaming(join(folder, 'a.json')).length > 0);
    expect(processesNaming(join(folder, 'a.json'))).toEqual([ours]);
  } finally {
    await Promise.all([endProcess(ours, 2_000), endProcess(others, 2_000)]);
  }
});

test('a process that ignores SIGTERM, or is frozen, is ended all the same', async () => {
  const ignores = child(deaf);
  const frozen = child(forEver);
  process.kill(frozen, 'SIGSTOP');
  await Promise.all([endProcess(ignores, 300), endProcess(frozen, 2_000)]);
  expect([identityOf(ignores), identityOf(frozen)]).toEqual([undefined, undefined]);
});

test('a folder has one launcher; a dead one holds nothing', async () => {
  const layout = layoutOf(folder);
  const lock = await takeLock(layout);
  await expect(takeLock(layout)).rejects.toThrow(AlreadyRunning);
  lock.release();
  expect(holderOf(layout)).toBeUndefined();

  // The same pid, but another process: what a reboot or a wrapped pid leaves behind.
  writeFileSync(layout.lock, JSON.stringify({ pid: process.pid, identity: 'another life' }));
  expect(holderOf(layout)).toBeUndefined();
  (await takeLock(layout)).release();
});

test('a child that dies is started again, later and later, and says so; one that was killed stays down', async () => {
  const said: string[] = [];
  const pids: number[] = [];
  const supervised = supervise({
    name: 'mortal',
    args: ['-e', 'process.exit(7)'],
    env: {},
    cwd: folder,
    logFile: join(folder, 'mortal.log'),
    say: (line) => said.push(line),
    onStart: (pid) => pids.push(pid),
  });
  supervised.start();
  await waitFor('three lives', () => pids.length >= 3);
  await supervised.stop();
  expect(said[0]).toContain('mortal died (exit code 7); starting it again in 250 ms');
  expect(said[1]).toContain('500 ms');

  const steady = supervise({
    name: 'steady',
    args: ['-e', forEver],
    env: {},
    cwd: folder,
    logFile: join(folder, 'steady.log'),
    say: (line) => said.push(line),
    onStart: () => undefined,
  });
  steady.start();
  await steady.kill('SIGKILL');
  expect(steady.pid()).toBeUndefined();
  expect(said.filter((line) => line.startsWith('steady'))).toEqual([]);
});

test('a step that fails shows the last lines of its log and one piece of advice; one that hangs is given up', async () => {
  const logFile = join(folder, 'a.log');
  writeFileSync(logFile, `${Array.from({ length: 40 }, (_, i) => `line ${i}`).join('\n')}\n`);
  const said: string[] = [];
  const stop = new AbortController();
  const step = createSteps((line) => said.push(line), stop.signal);
  const never = () => new Promise<never>(() => undefined);
  const failure = await step({ what: 'a thing', limitMs: 2_500, logFile, advice: 'turn it off and on' }, never).catch(
    (error: Error) => error,
  );
  expect(failure).toBeInstanceOf(StepFailed);
  expect(String(failure)).toContain('a thing: not done after 2.5 s');
  expect(String(failure)).toMatch(/line 28\n(.*\n)*line 39\nAdvice: turn it off and on$/);
  expect(said).toEqual([expect.stringMatching(/… a thing, 2\.. s so far/)]);

  const asked = step({ what: 'another', limitMs: 10_000, advice: 'none' }, never);
  stop.abort();
  await expect(asked).rejects.toThrow(StopAsked);
});
