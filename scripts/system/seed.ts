// The demo's merchants, terminals and routes: the same on every machine, put through the admin APIs like anybody's. Only
// the secrets differ, and each is asked for once: the services show them once.
import { z } from 'zod';
import { adminCall } from './admin-call.ts';
import {
  type Credentials,
  credentialsSchema,
  readIfThere,
  type TerminalCredentials,
  writePrivate,
} from './run-file.ts';

const uuid = (n: number) => `019a0000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const route = (channel: string, method: 'card' | 'code', weight = 1, binPrefix: string | null = null) => ({
  channel,
  method,
  currency: null,
  bin_prefix: binPrefix,
  weight,
});

/** Two merchants, five terminals. Cards that begin with 55 always go to bank_b, so that a break of it can be seen. */
const demoMerchants = [
  {
    id: `mer_${uuid(1)}`,
    name: 'Corner Café, Berlin',
    time_zone: 'Europe/Berlin',
    cutover: '00:00',
    currencies: ['EUR', 'USD'],
    routes: [
      route('bank_a', 'card', 3),
      route('bank_b', 'card', 1),
      route('bank_b', 'card', 1, '55'),
      route('bank_c', 'code'),
    ],
    terminals: [
      { id: `trm_${uuid(11)}`, name: 'Counter' },
      { id: `trm_${uuid(12)}`, name: 'Terrace' },
      { id: `trm_${uuid(13)}`, name: 'Van' },
    ],
  },
  {
    id: `mer_${uuid(2)}`,
    name: 'Harbour Books, Yokohama',
    time_zone: 'Asia/Tokyo',
    cutover: '05:00',
    currencies: ['JPY', 'USD'],
    routes: [route('bank_c', 'card'), route('bank_b', 'card', 1, '55'), route('bank_a', 'code')],
    terminals: [
      { id: `trm_${uuid(21)}`, name: 'Ground floor' },
      { id: `trm_${uuid(22)}`, name: 'First floor' },
    ],
  },
] as const;

const VOID_WINDOW_SECONDS = 900;

const issuedKeySchema = z.object({ key_id: z.string(), secret: z.string() });
const issuedApiKeySchema = z.object({ api_key: z.string() });

export interface SeedTargets {
  readonly collectionInternal: string;
  /** Undefined: the system runs without query, and merchants get no API keys. */
  readonly queryInternal: string | undefined;
  readonly adminToken: string;
  readonly credentialsFile: string;
}

/** Repeatable: what is there stays, what is missing is made, and every secret is on disk before the next is asked for. */
export async function seed(targets: SeedTargets): Promise<Credentials> {
  const { collectionInternal, queryInternal, adminToken: token, credentialsFile } = targets;
  const text = readIfThere(credentialsFile);
  let credentials: Credentials =
    text === undefined
      ? { admin_token: token, merchants: [], operators: [] }
      : credentialsSchema.parse(JSON.parse(text));
  const keep = (merchant: Credentials['merchants'][number]) => {
    const others = credentials.merchants.filter((other) => other.merchant_id !== merchant.merchant_id);
    credentials = { ...credentials, merchants: [...others, merchant] };
    writePrivate(credentialsFile, credentials);
  };
  for (const demo of demoMerchants) {
    const { name, time_zone, cutover, currencies } = demo;
    const base = `${collectionInternal}/admin/merchants/${demo.id}`;
    await adminCall('PUT', base, {
      token,
      body: { name, time_zone, cutover, currencies, void_window_seconds: VOID_WINDOW_SECONDS },
    });
    const routes = demo.routes.map((wanted, index) => ({
      ...wanted,
      merchant_number: `${demo.id.slice(-4)}00000001`,
      terminal_number: String(index + 1).padStart(8, '0'),
    }));
    await adminCall('PUT', `${base}/routes`, { token, body: { routes } });
    let merchant = credentials.merchants.find((known) => known.merchant_id === demo.id) ?? {
      merchant_id: demo.id,
      name,
      currencies: [...currencies],
      api_key: '',
      terminals: [],
    };
    for (const terminal of demo.terminals) {
      if (merchant.terminals.some((known) => known.terminal_id === terminal.id)) continue;
      const issued = await newTerminal(collectionInternal, token, demo.id, terminal);
      merchant = { ...merchant, terminals: [...merchant.terminals, issued] };
      keep(merchant);
    }
    if (merchant.api_key === '' && queryInternal !== undefined) {
      const body = { merchant_id: demo.id, livemode: false, name: 'demo' };
      const reply = await adminCall('POST', `${queryInternal}/admin/api-keys`, { token, body });
      keep({ ...merchant, api_key: issuedApiKeySchema.parse(reply).api_key });
    }
  }
  return credentials;
}

async function newTerminal(
  collectionInternal: string,
  token: string,
  merchantId: string,
  terminal: { id: string; name: string },
): Promise<TerminalCredentials> {
  const base = `${collectionInternal}/admin/terminals/${terminal.id}`;
  await adminCall('PUT', base, { token, body: { merchant_id: merchantId, name: terminal.name } });
  const issued = issuedKeySchema.parse(await adminCall('POST', `${base}/keys`, { token, body: { livemode: false } }));
  return { terminal_id: terminal.id, name: terminal.name, livemode: false, ...issued };
}
