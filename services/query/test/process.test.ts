// The process as the launcher starts it: one file of configuration in, log lines out, gone on SIGTERM.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freshDatabase, startProxy, type TestDatabase, waitFor } from '@ballast/database/testing';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { approvedOrder, merchantA } from './support/events.ts';

const main = new URL('../src/main.ts', import.meta.url).pathname;
const tokens = { delivery_token: 'delivery-token-of-tests', admin_token: 'admin-token-of-tests' };
let database: TestDatabase;
let directory: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  database = await freshDatabase('query_process');
  directory = mkdtempSync(join(tmpdir(), 'ballast-query-'));
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL'); // what a failed test left behind
  children.length = 0;
});
afterAll(async () => {
  rmSync(directory, { recursive: true, force: true });
  await database.drop();
});

interface Started {
  readonly child: ChildProcess;
  readonly lines: Record<string, unknown>[];
}

function start(config: object): Started {
  const file = join(directory, 'config.json');
  writeFileSync(file, JSON.stringify(config));
  const child = spawn(process.execPath, [main], {
    env: { ...process.env, BALLAST_CONFIG: file },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines: Record<string, unknown>[] = [];
  if (child.stdout !== null) createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line)));
  return { child, lines };
}

const faces = { listen: { host: '127.0.0.1', port: 0 }, internal: { host: '127.0.0.1', port: 0 } };
const post = (url: string, token: string, body: object) =>
  fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

test('starts on an empty database, serves, is ready, measures, describes itself, and stops cleanly', async () => {
  const { child, lines } = start({ instance: 'query-1', ...faces, database_url: database.url, ...tokens });
  const ready = await waitFor('the ready line', () => lines.find((line) => line['msg'] === 'query is ready'), 30_000);
  const url = String(ready['url']);
  const internal = String(ready['internal_url']);

  expect((await fetch(`${internal}/livez`)).status).toBe(200);
  expect((await fetch(`${internal}/readyz`)).status).toBe(200);
  const order = approvedOrder();
  const delivered = await post(`${internal}/deliveries`, tokens.delivery_token, { messages: order });
  expect(await delivered.json()).toMatchObject({ applied: 2, gaps: [] });
  const issued = await post(`${internal}/admin/api-keys`, tokens.admin_token, {
    merchant_id: `mer_${merchantA}`,
    livemode: false,
    name: 'screen',
  });
  const { api_key } = (await issued.json()) as { api_key: string };
  const story = await fetch(`${url}/v1/orders/ord_${order[0].order_id}`, {
    headers: { authorization: `Bearer ${api_key}` },
  });
  expect(await story.json()).toMatchObject({ status: 'approved', version: 2 });

  const metrics = await (await fetch(`${internal}/metrics`)).text();
  expect(metrics).toMatch(/ballast_read_model_events_applied_total\{[^}]*model="read_model"[^}]*\} 2/);
  for (const name of [
    'ballast_read_model_lag_seconds',
    'ballast_read_model_orders',
    'ballast_read_model_parked_events',
  ])
    expect(metrics).toContain(name);

  const openapi = (await (await fetch(`${url}/openapi.json`)).json()) as { openapi: string; paths: object };
  expect(openapi.openapi).toBe('3.1.0');
  expect(Object.keys(openapi.paths).sort()).toEqual(['/v1/orders', '/v1/orders/{id}']);
  // The committed description is what is served (vitest -u writes it anew).
  await expect(`${JSON.stringify(openapi, null, 2)}\n`).toMatchFileSnapshot('../openapi.json');
  expect((await fetch(`${url}/docs`)).status).toBe(200);

  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
});

test.each([
  ['an unknown setting', { colour: 'red' }],
  ['a database that is not there', { database_url: 'postgres://nobody@127.0.0.1:1/none' }],
  ['a public face without TLS', { listen: { host: '0.0.0.0', port: 0 } }],
])('with %s it says so and exits with 1', async (_name, wrong) => {
  const { child } = start({ instance: 'query-1', ...faces, database_url: database.url, ...tokens, ...wrong });
  expect(await once(child, 'exit')).toEqual([1, null]);
});

test('cut connections are made again; while the database is away the reader is told to come back', async () => {
  const { hostname, port } = new URL(database.url);
  const proxy = await startProxy({ host: hostname, port: Number(port) });
  const through = new URL(database.url);
  through.port = String(proxy.port);
  const { child, lines } = start({ instance: 'query-1', ...faces, database_url: through.href, ...tokens });
  const ready = await waitFor('the ready line', () => lines.find((line) => line['msg'] === 'query is ready'), 30_000);
  const issued = await post(`${String(ready['internal_url'])}/admin/api-keys`, tokens.admin_token, {
    merchant_id: `mer_${merchantA}`,
    livemode: false,
    name: 'screen',
  });
  const { api_key } = (await issued.json()) as { api_key: string };
  const list = () => fetch(`${ready['url']}/v1/orders`, { headers: { authorization: `Bearer ${api_key}` } });
  expect((await list()).status).toBe(200);

  proxy.cut();
  await waitFor('the list again', async () => {
    const { status } = await list();
    expect([200, 503]).toContain(status);
    return status === 200;
  });

  await proxy.close();
  const refused = await list();
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after')).toBe('1');
  expect(await refused.json()).toMatchObject({ code: 'database_unavailable', retryable: true });
  const delivered = await post(`${ready['internal_url']}/deliveries`, tokens.delivery_token, {
    messages: approvedOrder(),
  });
  expect(delivered.status).toBe(503);
  expect((await fetch(`${ready['internal_url']}/livez`)).status).toBe(200);
  expect((await fetch(`${ready['internal_url']}/readyz`)).status).toBe(503);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
});
