// Collection and three simulated banks as processes of their own, on a database of their own, seen as a terminal sees them.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '@ballast/database/embedded';
import { freshDatabase } from '@ballast/database/testing';
import { request } from 'undici';
import { createTerminal, type PaymentBody, type Terminal } from '../../../../scripts/system/terminal.ts';
import {
  type BankSetting,
  endService,
  type SimulatedBanks,
  startBanks,
  startService,
  untilAnswers,
} from './simulated-banks.ts';

export const MERCHANT = 'mer_019a0000-0000-7000-8000-00000000000a';
export const TERMINAL = 'trm_019a0000-0000-7000-8000-0000000000a1';

export interface RunningCollection {
  readonly url: string;
  readonly internalUrl: string;
  readonly databaseUrl: string;
  readonly terminal: Terminal;
  /** A payment body with a number not used before. */
  sale(extra?: Partial<PaymentBody>): PaymentBody;
  admin(
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    path: string,
    body?: unknown,
  ): Promise<{ status: number; json: never }>;
  readonly script: SimulatedBanks['script'];
  readonly books: SimulatedBanks['books'];
  log(): string;
  kill(signal: NodeJS.Signals): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

export interface RunOptions {
  readonly label: string;
  readonly banks?: readonly BankSetting[];
  /** Of every channel: url, livemode and name aside. */
  readonly channel?: object;
}

export async function runCollection({
  label,
  banks = [{ name: 'bank_a' }],
  channel = {},
}: RunOptions): Promise<RunningCollection> {
  const database = await freshDatabase(label);
  const directory = mkdtempSync(join(tmpdir(), 'ballast-collection-'));
  const adminToken = randomBytes(24).toString('base64url');
  const [port, internalPort] = [await freePort(), await freePort()];
  const simulated = await startBanks(directory, banks);
  const config = {
    instance: 'collection-test',
    listen: { host: '127.0.0.1', port },
    internal: { host: '127.0.0.1', port: internalPort },
    database_url: database.url,
    state_dir: directory,
    keys: {
      current: 'k1',
      keys: { k1: randomBytes(32).toString('base64') },
      fingerprint: randomBytes(32).toString('base64'),
    },
    admin_token: adminToken,
    single_machine: 'accepted',
    channels: banks.map((bank) => ({
      name: bank.name,
      url: simulated.url(bank.name),
      livemode: bank['livemode'] ?? false,
      horizon_ms: 1_000,
      ...channel,
    })),
  };
  const url = `http://127.0.0.1:${port}`;
  const internalUrl = `http://127.0.0.1:${internalPort}`;
  let collection = startService('collection', directory, config);
  await untilAnswers(`${internalUrl}/readyz`);

  const admin: RunningCollection['admin'] = async (method, path, body) => {
    const reply = await request(internalUrl + path, {
      method,
      headers: {
        authorization: `Bearer ${adminToken}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await reply.body.text();
    return { status: reply.statusCode, json: (text === '' ? null : JSON.parse(text)) as never };
  };

  await admin('PUT', `/admin/merchants/${MERCHANT}`, {
    name: 'Bakery',
    time_zone: 'Europe/Berlin',
    cutover: '00:00',
    currencies: ['EUR', 'JPY', 'KWD'],
    void_window_seconds: 3_600,
  });
  await admin('PUT', `/admin/merchants/${MERCHANT}/routes`, {
    routes: banks.map((bank) => ({ channel: bank.name, method: 'card', merchant_number: 'M1', terminal_number: 'T1' })),
  });
  await admin('PUT', `/admin/terminals/${TERMINAL}`, { merchant_id: MERCHANT, name: 'till 1' });
  const { json: key } = await admin('POST', `/admin/terminals/${TERMINAL}/keys`, { livemode: false });
  const terminal = createTerminal({
    url,
    key: { terminal_id: TERMINAL, ...(key as { key_id: string; secret: string }) },
  });

  let trace = 0;
  return {
    url,
    internalUrl,
    databaseUrl: database.url,
    terminal,
    sale: (extra = {}) => ({
      amount: 1_250,
      currency: 'EUR',
      batch_number: '000001',
      trace_number: String(++trace).padStart(6, '0'),
      transaction_time: new Date().toISOString(),
      payment_method: {
        type: 'card',
        number: '4242424242424242',
        expiry_month: 12,
        expiry_year: 2030,
        entry_mode: 'chip',
      },
      ...extra,
    }),
    admin,
    script: simulated.script,
    books: simulated.books,
    log: () => readFileSync(join(directory, 'collection.log'), 'utf8'),
    kill: (signal) => endService(collection, signal),
    restart: async () => {
      await endService(collection, 'SIGKILL');
      collection = startService('collection', directory, config);
      await untilAnswers(`${internalUrl}/readyz`);
    },
    close: async () => {
      await Promise.all([endService(collection, 'SIGTERM'), simulated.close()]);
      await database.drop();
      rmSync(directory, { recursive: true });
    },
  };
}
