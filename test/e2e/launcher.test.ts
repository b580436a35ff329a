// `npm start` as people meet it: started, started again beside itself, killed, started on what is left, stopped.
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { layoutOf, type ProcessName, projectRoot, serverNames, serviceNames } from '../../scripts/system/layout.ts';
import { processesNaming, signalIfThere } from '../../scripts/system/processes.ts';
import { readRunFile } from '../../scripts/system/run-file.ts';
import { query } from './support/settled.ts';

const START_LIMIT_MS = 60_000;
/** Orders of two self-checks and of `pay`, with some room. */
const MADE_WITHOUT_TRAFFIC = 6;
const processNames: readonly ProcessName[] = [...serviceNames, 'traffic'];

interface Command {
  readonly child: ChildProcess;
  output(): string;
  readonly exit: Promise<number | null>;
}

let folder: string;
let dataDir: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ballast-e2e-launcher-'));
  chmodSync(folder, 0o711);
  dataDir = join(folder, '.ballast');
});
afterAll(async () => {
  await command('reset').exit;
  rmSync(folder, { recursive: true, force: true });
});

function command(name: string, ...args: string[]): Command {
  const script = join(projectRoot, 'scripts', `${name}.ts`);
  const child = spawn(process.execPath, [script, ...args, '--data', dataDir], { cwd: projectRoot });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString('utf8');
    });
  const exit = new Promise<number | null>((resolve) => child.on('close', resolve));
  return { child, output: () => output, exit };
}

/** Resolves when it is up, rejects with what it printed when it ends instead. */
async function up(start: Command): Promise<void> {
  const ended = start.exit.then((code) => {
    throw new Error(`npm start ended with ${code}:\n${start.output()}`);
  });
  ended.catch(() => undefined); // it ends later, when the test wants it to
  await Promise.race([ended, waitFor('the self-check', () => start.output().includes('Self-check'), START_LIMIT_MS)]);
}

function everyProcess(): number[] {
  const layout = layoutOf(dataDir);
  return [
    ...processNames.flatMap((name) => processesNaming(layout.configFile(name))),
    ...serverNames.flatMap((name) => processesNaming(layout.postgresDir(name))),
  ];
}

test('npm start, beside itself, after a kill -9, and Ctrl-C', { timeout: 240_000 }, async () => {
  const first = command('start', '--no-traffic', '--any-ports');
  await up(first);
  expect(first.output()).toMatch(/NOT FOR PRODUCTION/);
  await waitFor('four ticks', () => first.output().split('Self-check')[1]?.match(/✓/g)?.length === 4);
  expect(first.output()).not.toContain('✗');
  const running = readRunFile(dataDir);

  const second = command('start');
  expect(await second.exit).toBe(0);
  expect(second.output()).toContain('already');
  expect(second.output()).toContain(running.services.collection?.url);

  const doctor = command('doctor');
  expect([await doctor.exit, doctor.output()]).toEqual([0, expect.not.stringContaining('✗')]);
  const pay = command('pay', '--twice');
  expect(await pay.exit).toBe(0);
  expect(pay.output()).toContain('The same answer, byte for byte.');
  const status = command('status');
  expect(await status.exit).toBe(0);

  first.child.kill('SIGKILL');
  await first.exit;
  expect(everyProcess().length).toBeGreaterThan(4); // orphans

  const third = command('start', '--no-traffic', '--any-ports');
  await up(third);
  expect(third.output()).toContain('found still running after a kill');
  expect(third.output()).toContain('adopted');
  expect(everyProcess()).toHaveLength(serviceNames.length + serverNames.length);

  third.child.kill('SIGINT');
  expect(await third.exit).toBe(0);
  expect(everyProcess()).toEqual([]);
  expect(existsSync(layoutOf(dataDir).runFile)).toBe(false);
});

test('after everything was killed at once, it starts with the data it had; reset leaves nothing', async () => {
  const start = command('start', '--any-ports');
  await up(start);
  const { databases } = readRunFile(dataDir);
  await waitFor('the traffic to sell', () =>
    query(databases.orders, 'select 1 from orders').then((rows) => rows.length > MADE_WITHOUT_TRAFFIC),
  );
  start.child.kill('SIGKILL');
  for (const pid of everyProcess()) signalIfThere(pid, 'SIGKILL');
  const again = command('start', '--no-traffic', '--any-ports');
  await up(again);
  const orders = command('sql', 'orders', `select count(*) > ${MADE_WITHOUT_TRAFFIC} as kept from orders`);
  expect(await orders.exit).toBe(0);
  expect(orders.output()).toContain('t\n');

  const reset = command('reset'); // stops the running one first
  expect(await reset.exit).toBe(0);
  expect(await again.exit).toBe(0);
  expect(everyProcess()).toEqual([]);
  expect(existsSync(dataDir)).toBe(false);
}, 180_000);

test('each command says what is wrong, with its exit code', async () => {
  const nothing = command('pay');
  expect([await nothing.exit, nothing.output()]).toEqual([3, expect.stringContaining('npm start')]);
  const wrong = command('status', '--nonsense');
  expect([await wrong.exit, wrong.output()]).toEqual([2, expect.stringContaining('Usage: npm run status')]);
});
