// The configuration file of each service, as `npm start` runs it. Everything else a service needs is in its sources.
import type { KafkaConnection } from '@ballast/infra-kafka';
import type { Installation, PortName } from './installation.ts';
import type { Layout, ServiceName } from './layout.ts';

const host = '127.0.0.1';

/** Banks of the demo. Their latencies are those of a decent acquirer's line, log-normal; only the published card is declined. */
export const demoBanks = {
  bank_a: { latency: { p50_ms: 40, p99_ms: 200 }, decline_rate: 0 },
  bank_b: { latency: { p50_ms: 60, p99_ms: 300 }, decline_rate: 0 },
  bank_c: { latency: { p50_ms: 30, p99_ms: 120 }, decline_rate: 0 },
} as const;
export type BankName = keyof typeof demoBanks;
export const bankNames = Object.keys(demoBanks) as BankName[];

/** How long after its sending a request of ours may still turn up at a simulated bank. */
export const demoHorizonMs = 40_000;

export interface BankSettings {
  readonly latency: { readonly p50_ms: number; readonly p99_ms: number };
  readonly decline_rate: number;
}

export interface ConfigInputs {
  readonly layout: Layout;
  readonly installation: Installation;
  readonly databases: Readonly<Record<'orders' | 'forwarding' | 'query' | 'control', string>>;
  readonly banks: Readonly<Record<BankName, BankSettings>>;
  readonly horizonMs: number;
  readonly kafka: KafkaConnection | undefined;
  readonly logLevel: string;
}

export function serviceConfigs(inputs: ConfigInputs): Readonly<Record<ServiceName, unknown>> {
  const { layout, installation, databases, banks, kafka, logLevel: log_level } = inputs;
  const { ports, secrets } = installation;
  const { admin_token } = secrets;
  const at = (name: PortName) => ({ host, port: ports[name] });
  return {
    'bank-simulator': {
      banks: bankNames.map((name) => ({ name, port: ports[name], books_dir: layout.banksDir, ...banks[name] })),
      admin_port: ports.bank_admin,
    },
    collection: {
      instance: 'collection-1',
      listen: at('collection'),
      internal: at('collection_internal'),
      database_url: databases.orders,
      state_dir: layout.stateDir('collection'),
      keys: { current: 'k1', keys: { k1: secrets.sealing_key }, fingerprint: secrets.fingerprint_key },
      admin_token,
      single_machine: 'accepted',
      channels: bankNames.map((name) => ({
        name,
        url: urlOf(ports[name]),
        livemode: false,
        horizon_ms: inputs.horizonMs,
      })),
      control_database_url: databases.control,
      log_level,
    },
    query: {
      instance: 'query-1',
      listen: at('query'),
      internal: at('query_internal'),
      database_url: databases.query,
      delivery_token: secrets.delivery_token,
      forwarding_url: urlOf(ports.forwarding_internal),
      forwarding_admin_token: admin_token,
      ...(kafka === undefined ? {} : { kafka }),
      admin_token,
      log_level,
    },
    forwarding: {
      instance: 'forwarding-1',
      internal: at('forwarding_internal'),
      database_url: databases.forwarding,
      sources: [
        {
          name: 'collection',
          database_url: databases.orders,
          single_machine: 'accepted',
          slot: 'ballast_forwarding',
          publication: 'ballast_journal',
        },
      ],
      subscribers: [
        {
          name: 'query',
          url: urlOf(ports.query_internal),
          token: secrets.delivery_token,
          route: kafka === undefined ? 'direct' : 'kafka',
        },
      ],
      ...(kafka === undefined ? {} : { kafka: { ...kafka, replicas: 1 } }),
      admin_token,
      log_level,
    },
  };
}

export function urlOf(port: number): string {
  return `http://${host}:${port}`;
}
