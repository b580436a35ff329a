// One embedded PostgreSQL server: made, started, adopted when a killed parent left it running, stopped.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import pg from 'pg';
import { findPrograms, makeOwned, type RunAs, reachableDataDir, runAs } from './binaries.ts';

export interface ServerOptions {
  readonly dataDir: string;
  /** Default: the port of the last start where it is free, else any free one. */
  readonly port?: number;
  readonly logFile: string;
  readonly settings?: Readonly<Record<string, string>>;
}

export interface Server {
  readonly port: number;
  readonly pid: number;
  /** True: it ran already. */
  readonly adopted: boolean;
  /** Where the data really are (elsewhere than asked for when PostgreSQL's user cannot enter there). */
  readonly dataDir: string;
  url(database: string): string;
  createDatabase(name: string): Promise<void>;
  stop(): Promise<void>;
}

const SUPERUSER = 'ballast';
const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 10_000;
const POLL_MS = 25;
/** After kill -9 of a postmaster its children keep the shared memory for a moment, and a new one refuses to start. */
const START_TRIES = 20;
const RETRY_MS = 250;

const defaults: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  wal_level: 'logical',
  max_connections: '200',
  // Day partitions of three tables: a statement that cannot prune locks each of them (docs/facts.md).
  max_locks_per_transaction: '512',
  max_slot_wal_keep_size: '1GB',
  wal_sender_timeout: '5s',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  log_min_messages: 'warning',
};

/** Starts the server, or finds it running. Rejects with the last lines of its log when it does not come up. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const as = runAs();
  const dataDir = reachableDataDir(options.dataDir, as);
  const passwordFile = `${resolve(options.dataDir)}.password`;
  mkdirSync(dirname(passwordFile), { recursive: true });
  const running = await settleStale(dataDir, passwordFile);
  if (running !== undefined)
    return serverOf({ ...running, dataDir, adopted: true, password: passwordOf(passwordFile) });
  if (!existsSync(join(dataDir, 'PG_VERSION'))) await initialise(dataDir, passwordFile, as);
  const password = passwordOf(passwordFile);
  for (let tries = 1; ; tries++) {
    const port = options.port ?? (await freePort());
    try {
      const pid = await launch({
        dataDir,
        port,
        logFile: options.logFile,
        settings: { ...defaults, ...options.settings },
        as,
        password,
      });
      return serverOf({ pid, port, dataDir, adopted: false, password });
    } catch (error) {
      if (tries >= START_TRIES || !/shared memory|lock file|could not bind/.test(String(error))) throw error;
      await pause(RETRY_MS);
    }
  }
}

function passwordOf(file: string): string {
  return readFileSync(file, 'utf8').trim();
}

/** Made beside its place and then renamed, so that a crash half way leaves nothing that looks like a cluster. */
async function initialise(dataDir: string, passwordFile: string, as: RunAs | undefined): Promise<void> {
  const half = `${dataDir}.making`;
  rmSync(half, { recursive: true, force: true });
  rmSync(dataDir, { recursive: true, force: true });
  mkdirSync(dirname(dataDir), { recursive: true });
  makeOwned(half, as);
  writeFileSync(passwordFile, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
  // initdb reads it as PostgreSQL's user, who may not read ours.
  const handed = `${half}.password`;
  copyFileSync(passwordFile, handed);
  if (as !== undefined) chownSync(handed, as.uid, as.gid);
  const words = [
    '-D',
    half,
    '-U',
    SUPERUSER,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C.UTF-8',
    '--data-checksums',
    `--pwfile=${handed}`,
  ];
  const { initdb } = findPrograms(as);
  // Takes a second or more: not synchronously, or whoever waits for it cannot say that it waits.
  const child = spawn(initdb, words, { ...as, cwd: '/', env: { LC_ALL: 'C.UTF-8', PATH: '/usr/bin:/bin' } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const status = await new Promise((ended) => child.on('close', ended).on('error', ended));
  rmSync(handed);
  if (status !== 0) throw new Error(`initdb failed (${status}):\n${output}`);
  renameSync(half, dataDir);
}

interface Launch {
  readonly dataDir: string;
  readonly port: number;
  readonly logFile: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly as: RunAs | undefined;
  readonly password: string;
}

/** Resolves to the postmaster's pid once it answers a query. */
async function launch({ dataDir, port, logFile, settings, as, password }: Launch): Promise<number> {
  mkdirSync(dirname(logFile), { recursive: true });
  const log = openSync(logFile, 'w');
  const words = Object.entries({ ...settings, port: String(port) }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
  // A process group of its own: Ctrl-C at the terminal must reach it through us, in order, after the services.
  const child = spawn(findPrograms(as).postgres, ['-D', dataDir, ...words], {
    ...as,
    cwd: '/',
    detached: true,
    stdio: ['ignore', log, log],
    env: { LC_ALL: 'C.UTF-8', PATH: '/usr/bin:/bin' },
  });
  let exited: string | undefined;
  child.on('error', (error) => {
    exited = error.message;
  });
  child.on('exit', (code, signal) => {
    exited = `exit ${code ?? signal}`;
  });
  child.unref();
  const until = performance.now() + START_LIMIT_MS;
  while (!(await answers(port, password))) {
    const failed = exited !== undefined ? exited : performance.now() > until ? 'no answer in time' : undefined;
    if (failed !== undefined) {
      if (exited === undefined) child.kill('SIGQUIT');
      throw new Error(
        `PostgreSQL did not start (${failed}):\n${readFileSync(logFile, 'utf8').split('\n').slice(-12).join('\n')}`,
      );
    }
    await pause(POLL_MS);
  }
  if (child.pid === undefined) throw new Error('BUG: a running child has a pid');
  return child.pid;
}

/** A postmaster left by a killed parent: adopted when it answers, else stopped. Undefined: nothing runs there. */
async function settleStale(dataDir: string, passwordFile: string): Promise<{ pid: number; port: number } | undefined> {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return undefined;
  const lines = readFileSync(file, 'utf8').split('\n');
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  if (!isPostmasterOf(pid, dataDir)) return undefined; // never deleted: PostgreSQL judges its own lock file
  if (existsSync(passwordFile) && (await answers(port, passwordOf(passwordFile)))) return { pid, port };
  await stopPostmaster(pid, dataDir);
  return undefined;
}

/** A pid can be another process by now: it counts only when its command line names this data directory. */
function isPostmasterOf(pid: number, dataDir: string): boolean {
  if (!Number.isInteger(pid) || pid <= 1) return false;
  const words = commandLineOf(pid);
  return words.includes('postgres') && words.includes(dataDir);
}

/** Empty: no such process. Without ps where it can be helped: the smallest images have none. */
function commandLineOf(pid: number): string {
  if (process.platform !== 'linux')
    return spawnSync('ps', ['-ww', '-o', 'args=', '-p', String(pid)], { encoding: 'utf8' }).stdout ?? '';
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}

async function stopPostmaster(pid: number, dataDir: string): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    // SIGINT: fast shutdown, with a checkpoint; SIGQUIT: at once, recovery at the next start. No data is lost by either.
    const until = performance.now() + STOP_LIMIT_MS;
    if (isPostmasterOf(pid, dataDir)) process.kill(pid, signal);
    while (performance.now() < until) {
      if (!isPostmasterOf(pid, dataDir)) return;
      await pause(POLL_MS);
    }
  }
  throw new Error(`PostgreSQL (pid ${pid}) did not stop`);
}

function serverOf(server: { pid: number; port: number; dataDir: string; adopted: boolean; password: string }): Server {
  const { pid, port, dataDir, adopted, password } = server;
  const url = (database: string) => `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${database}`;
  return {
    pid,
    port,
    dataDir,
    adopted,
    url,
    createDatabase: async (name) => {
      const client = new pg.Client(url('postgres'));
      await client.connect();
      try {
        const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
        if (rowCount === 0) await client.query(`create database ${client.escapeIdentifier(name)}`);
      } finally {
        await client.end();
      }
    },
    stop: () => stopPostmaster(pid, dataDir),
  };
}

async function answers(port: number, password: string): Promise<boolean> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: SUPERUSER,
    password,
    database: 'postgres',
    connectionTimeoutMillis: 1_000,
  });
  client.on('error', () => undefined); // a probe: its failure is the answer
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** A port that was free a moment ago on the loopback interface. */
export function freePort(): Promise<number> {
  return new Promise((resolvePort, reject) => {
    const probe = createServer();
    probe.on('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() =>
        address !== null && typeof address === 'object' ? resolvePort(address.port) : reject(new Error('no port')),
      );
    });
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
