// The run file of a system as it is now.
import type { Installation } from './installation.ts';
import { type Layout, type ProcessName, type ServerName, serverNames } from './layout.ts';
import { ourselves } from './lock.ts';
import type { RunFile } from './run-file.ts';
import type { KeptServer } from './servers.ts';
import { bankNames, urlOf } from './service-configs.ts';
import type { ServiceProcess } from './service-processes.ts';

export interface RunParts {
  readonly layout: Layout;
  readonly installation: Installation;
  readonly startedAt: string;
  readonly databases: RunFile['databases'];
  readonly servers: Readonly<Record<ServerName, KeptServer>>;
  readonly processes: ReadonlyMap<ProcessName, ServiceProcess>;
  readonly kafka: { readonly brokers: readonly string[] } | undefined;
}

export function describeRun(parts: RunParts): RunFile {
  const { layout, installation, startedAt, databases, servers, processes, kafka } = parts;
  const { ports } = installation;
  const addresses = {
    'bank-simulator': { admin_url: urlOf(ports.bank_admin) },
    collection: { url: urlOf(ports.collection), internal_url: urlOf(ports.collection_internal) },
    query: { url: urlOf(ports.query), internal_url: urlOf(ports.query_internal) },
    forwarding: { internal_url: urlOf(ports.forwarding_internal) },
    traffic: {},
  };
  const services = Object.fromEntries(
    [...processes].map(([name, process]) => [
      name,
      {
        pid: process.lastPid(),
        ...addresses[name],
        log_file: layout.logFile(name),
        config_file: layout.configFile(name),
      },
    ]),
  );
  const postgres = Object.fromEntries(
    serverNames.map((name) => {
      const { port, pid, dataDir } = servers[name].current();
      return [name, { port, pid, data_dir: dataDir, log_file: layout.logFile(`postgres-${name}`) }];
    }),
  );
  return {
    version: 1,
    started_at: startedAt,
    data_dir: layout.root,
    launcher: ourselves(),
    postgres: postgres as RunFile['postgres'],
    databases,
    ...(kafka === undefined ? {} : { kafka: { brokers: [...kafka.brokers] } }),
    services: services as RunFile['services'],
    banks: Object.fromEntries(
      bankNames.map((name) => [name, { url: urlOf(ports[name]), books_file: `${layout.banksDir}/${name}.jsonl` }]),
    ),
    credentials_file: layout.credentials,
  };
}
