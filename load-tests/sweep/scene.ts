// One scenario's world: a database, the banks and collection, each a process of its own, the latter with the sweep's hook.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { waitFor } from '@ballast/database/testing';
import { request } from 'undici';
import { pickPort } from '../../scripts/system/ports.ts';
import { createTerminal, type Terminal } from '../../scripts/system/terminal.ts';
import { binOf, GONE_BIN, sweptBanks } from './behaviours.ts';
import type { Order, Report } from './failpoints.ts';
import { plants } from './patches.ts';

const mainOf = (service: string) => fileURLToPath(new URL(`../../services/${service}/src/main.ts`, import.meta.url));
const hook = new URL('./hook.ts', import.meta.url).href;

export const MERCHANT = 'mer_019a0000-0000-7000-8000-00000000000a';
export const TERMINAL = 'trm_019a0000-0000-7000-8000-0000000000a1';

/** Counted from the terminal's deadline, 2 s: over just before approve_until. */
const HORIZON_MS = 1_200;
const BANK_TIMEOUT_MS = 700;
const START_LIMIT_MS = 30_000;

export interface Scene {
  readonly terminal: Terminal;
  readonly databaseUrl: string;
  books(): string[];
  readonly logs: readonly string[];
  readonly secrets: readonly string[];
  /** A file in the scenario's directory. */
  file(name: string): string;
  arm(...labels: string[]): void;
  release(label: string): void;
  /** How often the label was held or passed since it was armed. */
  count(label: string): number;
  /** Heals what is only down, or not there, at first. */
  heal(): Promise<void>;
  kill(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

export interface SceneOptions {
  readonly databaseUrl: string;
  readonly directory: string;
  readonly plant?: string | undefined;
  /** Added to every answer of every bank, so that a process can die while it waits. */
  readonly bankLatencyMs?: number | undefined;
}

export async function openScene({ databaseUrl, directory, plant, bankLatencyMs = 0 }: SceneOptions): Promise<Scene> {
  mkdirSync(directory, { recursive: true });
  const [port, internalPort, simulatorPort, gonePort] = await pickPorts();
  const adminToken = randomBytes(24).toString('base64url');
  const present = sweptBanks.filter((bank) => bank.gone !== true);
  const simulatorConfig = write('bank-simulator', {
    banks: present.map(({ name, settings }) => ({ ...settings, name, port: 0, books_dir: directory })),
    admin_port: simulatorPort,
  });
  const goneConfig = write('bank-gone', {
    banks: [{ name: 'gone', port: gonePort, books_dir: directory }],
    admin_port: 0,
  });
  const simulator = start('bank-simulator', simulatorConfig, false);
  const banks = `http://127.0.0.1:${simulatorPort}`;
  await isUp(`${banks}/livez`, simulator, 'bank-simulator.log');
  const listening = (await (await fetch(`${banks}/banks`)).json()) as { name: string; port: number }[];
  const bankPorts = new Map(listening.map(({ name, port: bankPort }) => [name, bankPort]));
  const collectionConfig = write('collection', {
    instance: 'sweep-1',
    listen: { host: '127.0.0.1', port },
    internal: { host: '127.0.0.1', port: internalPort },
    database_url: databaseUrl,
    state_dir: directory,
    keys: {
      current: 'k1',
      keys: { k1: randomBytes(32).toString('base64') },
      fingerprint: randomBytes(32).toString('base64'),
    },
    admin_token: adminToken,
    single_machine: 'accepted',
    channels: sweptBanks.map(({ name, settings, horizonMs }) => ({
      name,
      url: `http://127.0.0.1:${bankPorts.get(name) ?? gonePort}`,
      livemode: false,
      horizon_ms: horizonMs ?? HORIZON_MS,
      timeout_ms: BANK_TIMEOUT_MS,
      keeps_early_reversals: settings !== undefined && 'keeps_early_reversals' in settings,
    })),
  });

  function write(service: string, config: object): string {
    const file = join(directory, `${service}.json`);
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    return file;
  }

  function start(service: string, config: string, swept: boolean): ChildProcess {
    const log = openSync(join(directory, `${service}.log`), 'a');
    const args = ['--disable-warning=ExperimentalWarning', ...(swept ? ['--import', hook] : []), mainOf(service)];
    return spawn(process.execPath, args, {
      env: { ...process.env, BALLAST_CONFIG: config, BALLAST_SWEEP: JSON.stringify({ plant }) },
      stdio: ['ignore', log, log, ...(swept ? (['ipc'] as const) : [])],
    });
  }

  const internal = `http://127.0.0.1:${internalPort}`;
  const counts = new Map<string, number>();
  const patched = new Set<string>();
  let collection: ChildProcess;
  let gone: ChildProcess | undefined;

  async function startCollection(): Promise<void> {
    collection = start('collection', collectionConfig, true);
    collection.on('message', (report: Report) => {
      if ('patched' in report) return void patched.add(report.patched);
      const label = 'held' in report ? report.held : report.passed;
      counts.set(label, (counts.get(label) ?? 0) + 1);
    });
    await isUp(`${internal}/readyz`, collection, 'collection.log');
    const missing = (plants.find(({ name }) => name === plant)?.patches ?? []).filter(({ file }) => !patched.has(file));
    if (missing.length > 0) throw new Error(`the fault "${plant}" was not planted in ${missing[0]?.file}`);
  }

  async function isUp(url: string, child: ChildProcess, log: string): Promise<void> {
    await waitFor(
      url,
      async () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${tail(log)}`);
        return fetch(url).then(
          (reply) => reply.ok,
          () => false,
        );
      },
      START_LIMIT_MS,
    );
  }

  function tail(name: string): string {
    return readFileSync(join(directory, name), 'utf8').slice(-1_500);
  }

  async function script(name: string, body: object): Promise<void> {
    await call(`${banks}/banks/${name}/behaviour`, 'PUT', body);
  }

  async function call(url: string, method: 'PUT' | 'POST', body: object): Promise<unknown> {
    const reply = await request(url, {
      method,
      headers: { 'content-type': 'application/json', authorization: `Bearer ${adminToken}` },
      body: JSON.stringify(body),
    });
    const text = await reply.body.text();
    if (reply.statusCode >= 300) throw new Error(`${method} ${url}: ${reply.statusCode} ${text}`);
    return JSON.parse(text);
  }

  await startCollection();
  for (const bank of present)
    await script(bank.name, { rules: bank.rules, down: bank.down === true, extra_latency_ms: bankLatencyMs });
  const { key_id, secret } = await provision(internal, call);
  const terminal = createTerminal({ url: `http://127.0.0.1:${port}`, key: { terminal_id: TERMINAL, key_id, secret } });

  const kill = () => end(collection, 'SIGKILL');
  return {
    terminal,
    databaseUrl,
    books: () => sweptBanks.map(({ name }) => join(directory, `${name}.jsonl`)).filter((file) => existsSync(file)),
    logs: [join(directory, 'collection.log')],
    secrets: [secret, adminToken],
    file: (name) => join(directory, name),
    arm: (...labels) => void collection.send({ arm: labels } satisfies Order),
    release: (label) => void collection.send({ release: label } satisfies Order),
    count: (label) => counts.get(label) ?? 0,
    heal: async () => {
      for (const bank of present) if (bank.down === true) await script(bank.name, { rules: bank.rules });
      gone ??= start('bank-simulator', goneConfig, false);
    },
    kill,
    restart: async () => {
      await kill();
      await startCollection();
    },
    close: async () => {
      const banksGone = gone === undefined ? [] : [end(gone, 'SIGKILL')];
      await Promise.all([end(collection, 'SIGTERM'), end(simulator, 'SIGKILL'), ...banksGone]);
    },
  };
}

async function pickPorts(): Promise<[number, number, number, number]> {
  const taken = new Set<number>();
  const next = async () => {
    const port = await pickPort(taken);
    taken.add(port);
    return port;
  };
  return [await next(), await next(), await next(), await next()];
}

async function provision(
  internal: string,
  call: (url: string, method: 'PUT' | 'POST', body: object) => Promise<unknown>,
): Promise<{ key_id: string; secret: string }> {
  await call(`${internal}/admin/merchants/${MERCHANT}`, 'PUT', {
    name: 'Sweep',
    time_zone: 'UTC',
    cutover: '00:00',
    currencies: ['EUR'],
    void_window_seconds: 3_600,
  });
  const numbers = { method: 'card', merchant_number: 'M1', terminal_number: 'T1' };
  await call(`${internal}/admin/merchants/${MERCHANT}/routes`, 'PUT', {
    routes: [
      ...sweptBanks.map(({ name }, index) => ({ ...numbers, channel: name, bin_prefix: binOf(index) })),
      { ...numbers, channel: 'healthy', bin_prefix: GONE_BIN },
    ],
  });
  await call(`${internal}/admin/terminals/${TERMINAL}`, 'PUT', { merchant_id: MERCHANT, name: 'till 1' });
  return (await call(`${internal}/admin/terminals/${TERMINAL}/keys`, 'POST', { livemode: false })) as never;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}
