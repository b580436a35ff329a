// For tests: a database of one's own on the server that vitest's global setup started, and waiting for a condition.
import pg from 'pg';

export { freshCluster } from './cluster.ts';
export { startProxy, type TestProxy } from './proxy.ts';

/** Set by test/support/one-run.ts for every test file. */
const SERVER_URL = 'BALLAST_TEST_POSTGRES';

export interface TestDatabase {
  readonly url: string;
  readonly name: string;
  /** A test that fails does not come here: its database stays for whoever looks for the reason. */
  drop(): Promise<void>;
}

let count = 0;

export async function freshDatabase(label: string): Promise<TestDatabase> {
  const server = process.env[SERVER_URL];
  if (server === undefined)
    throw new Error(`${SERVER_URL} is not set: run tests through vitest from the project's root`);
  const name = `t_${label.replaceAll(/[^a-z0-9]/gi, '_').toLowerCase()}_${process.pid}_${Date.now().toString(36)}${count++}`;
  await asAdmin(server, (client) => client.query(`create database ${name}`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  return {
    name,
    url: url.href,
    drop: () => asAdmin(server, (client) => client.query(`drop database if exists ${name} with (force)`)),
  };
}

async function asAdmin(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** Resolves to the first value that is neither false, null nor undefined; rejects after `limitMs` with what it waited for. */
export async function waitFor<T>(
  what: string,
  condition: () => Promise<T> | T,
  limitMs = 10_000,
): Promise<NonNullable<T>> {
  const until = performance.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value !== false && value !== null && value !== undefined) return value;
    if (performance.now() > until) throw new Error(`waited ${limitMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
