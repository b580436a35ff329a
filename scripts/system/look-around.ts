// What can be seen of a running system from outside: each service's health, what is in the order database, the slot.
// `status` shows it, `doctor` judges it.
import pg from 'pg';
import { request } from 'undici';
import { isOpen } from '../../load-tests/checker/quiet.ts';
import { identityOf } from './processes.ts';
import { readMetrics, type Sample, sumOf } from './read-metrics.ts';
import type { RunFile } from './run-file.ts';

const PROBE_LIMIT_MS = 2_000;

export interface ServiceSeen {
  readonly name: string;
  readonly pid: number;
  readonly alive: boolean;
  /** Undefined: it does its work. */
  readonly trouble: string | undefined;
  readonly logFile: string;
}

export async function lookAtServices(run: RunFile): Promise<ServiceSeen[]> {
  const { services } = run;
  const probes: readonly [keyof RunFile['services'], string | undefined][] = [
    ['collection', services.collection && `${services.collection.internal_url}/readyz`],
    ['query', services.query && `${services.query.internal_url}/readyz`],
    ['forwarding', services.forwarding && `${services.forwarding.internal_url}/readyz`],
    ['bank-simulator', services['bank-simulator'] && `${services['bank-simulator'].admin_url}/livez`],
    ['traffic', undefined],
  ];
  const seen = probes.map(async ([name, url]): Promise<ServiceSeen | undefined> => {
    const service = services[name];
    if (service === undefined) return undefined;
    const alive = identityOf(service.pid) !== undefined;
    const trouble = !alive ? 'not running' : url === undefined ? undefined : await troubleAt(url);
    return { name, pid: service.pid, alive, trouble, logFile: service.log_file };
  });
  return (await Promise.all(seen)).filter((service) => service !== undefined);
}

async function troubleAt(url: string): Promise<string | undefined> {
  try {
    const reply = await request(url, { signal: AbortSignal.timeout(PROBE_LIMIT_MS) });
    const text = await reply.body.text();
    return reply.statusCode === 200 ? undefined : `not ready: ${text.slice(0, 200)}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A query's rows, or why there are none. */
export async function rowsOf<T extends pg.QueryResultRow>(url: string, sql: string): Promise<T[] | Error> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: PROBE_LIMIT_MS,
    statement_timeout: PROBE_LIMIT_MS,
    application_name: 'ballast look',
  });
  client.on('error', () => undefined); // a server that goes away while we ask: the query's own rejection says so
  try {
    await client.connect();
    return (await client.query<T>(sql)).rows;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Of the last five minutes, by status. The ids begin with their time: the bound leaves only today's partition. */
export const recentOrders = `select status, count(*)::int as count from orders
  where order_id >= (
      lpad(to_hex((extract(epoch from now() - interval '5 minutes') * 1000)::bigint), 12, '0') || '70008000000000000000'
    )::uuid
  group by status order by status`;

export const openOrders = `select status, count(*)::int as count,
    extract(epoch from now() - min(accepted_at))::float8 as oldest_seconds
  from orders where ${isOpen} group by status order by status`;

export interface ChannelSeen {
  readonly channel: string;
  /** The breaker's. */
  readonly state: string;
  /** What operators have set on it: what the breaker thinks counts for little then. */
  readonly overrides: readonly { readonly kind: string; readonly endsAt: Date }[];
  readonly calls: Readonly<Record<'approved' | 'declined' | 'technical' | 'timeout' | 'refused', number>>;
}

/** Per channel, the pay policy's state and its calls since the service started. */
export function channelsIn(samples: readonly Sample[], channels: readonly string[]): ChannelSeen[] {
  return channels.map((channel) => {
    const on = samples.find(
      ({ name, labels, value }) =>
        name === 'ballast_channel_state' &&
        labels['channel'] === channel &&
        labels['operation'] === 'pay' &&
        value === 1,
    );
    const overrides = samples.filter(
      ({ name, labels }) =>
        name === 'ballast_channel_override_expires_timestamp_seconds' &&
        labels['channel'] === channel &&
        labels['operation'] === 'pay',
    );
    const count = (outcome: string) =>
      sumOf(samples, 'ballast_channel_requests_total', { channel, operation: 'pay', outcome }) ?? 0;
    return {
      channel,
      state: on?.labels['state'] ?? 'closed',
      overrides: overrides.map(({ labels, value }) => ({
        kind: labels['kind'] ?? 'override',
        endsAt: new Date(value * 1_000),
      })),
      calls: {
        approved: count('approved'),
        declined: count('declined'),
        technical: count('technical'),
        timeout: count('timeout'),
        refused: count('refused'),
      },
    };
  });
}

export async function metricsOf(internalUrl: string | undefined): Promise<Sample[]> {
  if (internalUrl === undefined) return [];
  try {
    return await readMetrics(internalUrl);
  } catch {
    return []; // its health says why
  }
}
