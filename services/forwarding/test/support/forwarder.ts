// The real forwarder as a process of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '@ballast/database/embedded';
import { freshDatabase, waitFor } from '@ballast/database/testing';
import type { KafkaConnection } from '@ballast/events/kafka';
import pg from 'pg';
import type { TestSource } from './source.ts';
import type { TestSubscriber } from './subscriber.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
/** Machines that run tests are busy. */
const START_LIMIT_MS = 30_000;
const ADMIN_TOKEN = 'admin token';

export interface FeedSeen {
  readonly subscriber: string;
  readonly state: string;
  readonly route: string;
  readonly reading: string;
  readonly lag_seconds: number;
  readonly pending_events: number | null;
  readonly seconds_to_clear: number | null;
  readonly open_gaps: number;
  readonly delivered_events: number;
  readonly rebuild: { readonly asked: number; readonly finished: number };
}

export interface SourceSeen {
  readonly state: string;
  readonly route: string;
  readonly reason: string | null;
  readonly warnings: readonly { readonly name: string }[];
  readonly retained_bytes: number | null;
}

export interface RunningForwarder {
  readonly pid: number;
  readonly internalUrl: string;
  readonly databaseUrl: string;
  /** Empty while it does not answer. */
  list(): Promise<{ subscribers: FeedSeen[]; sources: SourceSeen[] }>;
  post(path: string, token?: string): Promise<Response>;
  /** On its own database. */
  query(text: string): Promise<pg.QueryResult>;
  /** Waits until the only subscriber, or the named one, reads the log without lag. */
  live(subscriber?: string): Promise<void>;
  log(): string;
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Goes on; not for a killed process. */
  wake(): void;
  start(): Promise<void>;
  close(): Promise<void>;
}

export interface ForwarderOptions {
  readonly source: TestSource;
  readonly subscribers: readonly TestSubscriber[];
  readonly instance?: string;
  /** Of another forwarder that is to be a standby of. */
  readonly databaseUrl?: string;
  readonly kafka?: KafkaConnection;
  /** Default: the source's own. */
  readonly sourceUrls?: readonly string[];
  /** Default: a single machine, and that is accepted. */
  readonly guarded?: boolean;
}

export async function startForwarder(options: ForwarderOptions): Promise<RunningForwarder> {
  const { source, subscribers, instance = 'forwarding-1', kafka } = options;
  const directory = mkdtempSync(join(tmpdir(), 'ballast-forwarding-'));
  const own = options.databaseUrl === undefined ? await freshDatabase('forwarding') : undefined;
  const databaseUrl = options.databaseUrl ?? own?.url ?? '';
  const port = await freePort();
  const internalUrl = `http://127.0.0.1:${port}`;
  const config = join(directory, 'config.json');
  writeFileSync(
    config,
    JSON.stringify({
      instance,
      internal: { host: '127.0.0.1', port },
      database_url: databaseUrl,
      sources: [
        {
          name: 'collection',
          database_url: options.sourceUrls ?? source.url,
          slot: source.slot,
          publication: 'ballast_journal',
          ...(options.guarded === true ? {} : { single_machine: 'accepted' }),
        },
      ],
      subscribers: subscribers.map(({ name, url, token }) => ({
        name,
        url,
        token,
        route: kafka === undefined ? 'direct' : 'kafka',
      })),
      ...(kafka === undefined ? {} : { kafka: { ...kafka, replicas: 1 } }),
      admin_token: ADMIN_TOKEN,
    }),
  );
  let child: ChildProcess;
  let log = '';

  async function start(): Promise<void> {
    child = spawn(process.execPath, [main], {
      env: { ...process.env, BALLAST_CONFIG: config },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        log += chunk.toString();
      });
    await waitFor(
      'the forwarder',
      () =>
        fetch(`${internalUrl}/livez`).then(
          (reply) => reply.ok,
          () => false,
        ),
      START_LIMIT_MS,
    );
  }

  const forwarder: RunningForwarder = {
    get pid() {
      return child.pid ?? 0;
    },
    internalUrl,
    databaseUrl,
    list: async () => {
      const reply = await fetch(`${internalUrl}/admin/subscribers`, {
        headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
      }).catch(() => undefined);
      if (reply === undefined) return { subscribers: [], sources: [] };
      return (await reply.json()) as { subscribers: FeedSeen[]; sources: SourceSeen[] };
    },
    query: async (text) => {
      const client = new pg.Client(databaseUrl);
      await client.connect();
      try {
        return await client.query(text);
      } finally {
        await client.end();
      }
    },
    post: (path, token = ADMIN_TOKEN) =>
      fetch(`${internalUrl}${path}`, { method: 'POST', headers: { authorization: `Bearer ${token}` } }),
    live: async (name) => {
      await waitFor(
        `${name ?? 'the subscriber'} to be live`,
        async () => {
          const { subscribers } = await forwarder.list();
          const feed = name === undefined ? subscribers[0] : subscribers.find((one) => one.subscriber === name);
          return feed?.state === 'live' && feed.lag_seconds < 1;
        },
        20_000,
      );
    },
    log: () => log,
    kill: async (signal) => {
      child.kill(signal);
      if (signal !== 'SIGSTOP' && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
    wake: () => void child.kill('SIGCONT'),
    start,
    close: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGCONT');
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      rmSync(directory, { recursive: true });
      await own?.drop();
    },
  };
  try {
    await start();
  } catch (error) {
    await forwarder.close();
    throw error;
  }
  return forwarder;
}
