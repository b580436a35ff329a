// More instances of collection beside the one that the launcher runs: the same configuration, other name, ports and state
// folder, on the same order database.
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { layoutOf, projectRoot } from '../../scripts/system/layout.ts';
import { pickPort } from '../../scripts/system/ports.ts';
import { serviceOf, writePrivate } from '../../scripts/system/run-file.ts';
import { urlOf } from '../../scripts/system/service-configs.ts';
import type { System } from '../../scripts/system/start-system.ts';
import { type Child, supervise } from '../../scripts/system/supervise.ts';

export interface Instance {
  readonly name: string;
  readonly url: string;
  readonly internalUrl: string;
  /** kill -9; it stays down until `start`, which resolves when it is ready. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

export interface Instances {
  readonly all: readonly Instance[];
  /** Ends those that were started here; the launcher's own goes with the system. */
  stop(): Promise<void>;
}

const READY_LIMIT_MS = 60_000;
const LOOK_MS = 50;

/** `count` instances in all, ready. */
export async function openInstances(system: System, count: number): Promise<Instances> {
  const taken = new Set<number>();
  const more: { instance: Instance; child: Child }[] = [];
  for (let number = 2; number <= count; number++) more.push(await prepareInstance(system, number, taken));
  await Promise.all(more.map(({ instance }) => instance.start()));
  return {
    all: [firstOf(system), ...more.map(({ instance }) => instance)],
    stop: async () => void (await Promise.all(more.map(({ child }) => child.stop()))),
  };
}

function firstOf(system: System): Instance {
  const { url, internal_url } = serviceOf(system.runFile, 'collection');
  return {
    name: 'collection-1',
    url,
    internalUrl: internal_url,
    kill: () => system.kill('collection', 'SIGKILL'),
    start: () => system.restart('collection'),
  };
}

async function prepareInstance(system: System, number: number, taken: Set<number>) {
  const run = system.runFile;
  const name = `collection-${number}`;
  const folder = layoutOf(run.data_dir);
  const first = serviceOf(run, 'collection').config_file;
  const configFile = join(dirname(first), `${name}.json`);
  const stateDir = join(dirname(folder.stateDir('collection')), name);
  const [port, internalPort] = [await pickPort(taken), await pickPort(taken)];
  for (const one of [port, internalPort]) taken.add(one);
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  writePrivate(configFile, {
    ...(JSON.parse(readFileSync(first, 'utf8')) as Record<string, unknown>),
    instance: name,
    listen: { host: '127.0.0.1', port },
    internal: { host: '127.0.0.1', port: internalPort },
    state_dir: stateDir,
  });
  const script = join(projectRoot, 'services', 'collection', 'src', 'main.ts');
  const child = supervise({
    name,
    args: ['--disable-warning=ExperimentalWarning', script, configFile],
    cwd: projectRoot,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], BALLAST_CONFIG: configFile },
    logFile: join(folder.logs, `${name}.log`),
    say: () => undefined,
    onStart: () => undefined,
  });
  const internalUrl = urlOf(internalPort);
  const instance: Instance = {
    name,
    url: urlOf(port),
    internalUrl,
    kill: () => child.kill('SIGKILL'),
    start: async () => {
      child.start();
      await untilReady(name, internalUrl);
    },
  };
  return { instance, child };
}

async function untilReady(name: string, internalUrl: string): Promise<void> {
  const until = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const ready = await fetch(`${internalUrl}/readyz`).then(
      ({ ok }) => ok,
      () => false, // not listening yet
    );
    if (ready) return;
    if (performance.now() > until) throw new Error(`${name} was not ready after ${READY_LIMIT_MS / 1_000} s`);
    await pause(LOOK_MS);
  }
}
