// Who is at the terminal: what the cache promises, also to those who make ids up.
import { randomBytes, randomUUID } from 'node:crypto';
import { migrate, openDatabase } from '@ballast/database';
import { freshDatabase, startProxy, waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openMasterKeys } from '../src/cards/master-keys.ts';
import { openMerchants } from '../src/merchants/provision.ts';

const keys = openMasterKeys({
  current: 'k1',
  keys: { k1: randomBytes(32).toString('base64') },
  fingerprint: randomBytes(32).toString('base64'),
});
const merchantId = randomUUID();
const terminalId = randomUUID();
let db: Awaited<ReturnType<typeof freshDatabase>>;
let knex: ReturnType<typeof openDatabase>;
let at = 0;
let queries = 0;

function open() {
  return openMerchants({ knex, keys, channelModes: new Map([['bank_a', false]]), now: () => at });
}

beforeAll(async () => {
  db = await freshDatabase('directory');
  knex = openDatabase({ url: db.url, applicationName: 'test directory', poolMax: 8 });
  await migrate(knex, new URL('../migrations/', import.meta.url));
  const { provisioning } = open();
  await provisioning.putMerchant({
    merchantId,
    name: 'Bakery',
    timeZone: 'Europe/Berlin',
    cutover: '00:00',
    currencies: ['EUR'],
    voidWindowSeconds: 60,
  });
  await provisioning.putTerminal({ terminalId, merchantId, name: 'till' });
  knex.on('query', () => {
    queries++;
  });
});
afterAll(async () => {
  await knex.destroy();
  await db.drop();
});

test('a known terminal is read once, again beside when stale, and a key revoked elsewhere is refused in the end', async () => {
  const { directory, provisioning } = open();
  const { keyId } = await provisioning.issueKey(terminalId, false);
  queries = 0;
  await Promise.all(Array.from({ length: 100 }, () => directory.find(terminalId, keyId)));
  expect(queries).toBe(1);

  await open().provisioning.revokeKey(terminalId, keyId); // another process
  expect(await directory.find(terminalId, keyId)).toBeDefined();
  at += 3_000;
  expect(await directory.find(terminalId, keyId)).toBeDefined(); // stale: served, and read again beside
  at += 10_001;
  expect(await directory.find(terminalId, keyId)).toBeUndefined();
});

test('ids that nobody has cost few look-ups, and push no real terminal out', async () => {
  const { directory, provisioning } = open();
  const { keyId } = await provisioning.issueKey(terminalId, false);
  await directory.find(terminalId, keyId);
  queries = 0;
  const madeUp = Array.from({ length: 3_000 }, (_, i) => `00000000-0000-7000-8000-${String(i).padStart(12, '0')}`);
  const results = await Promise.allSettled(madeUp.map((id) => directory.find(id, 'key_0')));
  const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  // Four at once and a line of 256; on a slow machine some of them are told to come back before their turn.
  expect(refused.length).toBeGreaterThanOrEqual(3_000 - 260);
  expect(refused.filter((reason) => reason.code !== 'overloaded')).toEqual([]);

  await waitFor('the line to be empty', () => queries >= 260);
  expect(queries).toBe(260);
  expect(await directory.find(terminalId, keyId)).toBeDefined();
  await Promise.all(Array.from({ length: 50 }, () => directory.find(madeUp[0] ?? '', 'key_0')));
  expect(queries).toBe(260);
  await provisioning.revokeKey(terminalId, keyId);
});

test('a database whose machine vanished keeps no look-up for long: the next one asks the machine in its place', async () => {
  const { hostname, port } = new URL(db.url);
  const proxy = await startProxy({ host: hostname, port: Number(port) });
  const through = new URL(db.url);
  through.port = String(proxy.port);
  const pool = openDatabase({ url: through.href, applicationName: 'test', poolMax: 8, statementTimeoutMs: 500 });
  const { directory, provisioning } = openMerchants({ knex: pool, keys, channelModes: new Map() });
  const { keyId } = await open().provisioning.issueKey(terminalId, false);
  await Promise.all(Array.from({ length: 8 }, () => pool.raw('select pg_sleep(0.1)')));
  proxy.vanish();
  const asked = ['key_1', 'key_2', 'key_3', 'key_4'].map((key) => directory.find(terminalId, key));
  await Promise.allSettled(asked);
  await waitFor('a look-up that is answered', () => directory.find(terminalId, keyId).catch(() => false), 20_000);
  await provisioning.revokeKey(terminalId, keyId);
  await pool.destroy();
  await proxy.close();
}, 30_000);
