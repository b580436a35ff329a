// Where an installation keeps what: one folder, `.ballast` unless told otherwise, readable by nobody else.
import { chmodSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const projectRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const defaultDataDir = join(projectRoot, '.ballast');

export const serviceNames = ['bank-simulator', 'collection', 'query', 'forwarding'] as const;
export type ServiceName = (typeof serviceNames)[number];
/** What the launcher runs beside the services. */
export type ProcessName = ServiceName | 'traffic';
export const serverNames = ['orders', 'main'] as const;
export type ServerName = (typeof serverNames)[number];

export type Layout = ReturnType<typeof layoutOf>;

export function layoutOf(dataDir: string) {
  const root = resolve(dataDir);
  return {
    root,
    runFile: join(root, 'run.json'),
    lock: join(root, 'launcher.lock'),
    installation: join(root, 'installation.json'),
    credentials: join(root, 'credentials.json'),
    banksDir: join(root, 'banks'),
    logs: join(root, 'logs'),
    kafkaDir: join(root, 'kafka'),
    configFile: (name: ProcessName) => join(root, 'config', `${name}.json`),
    logFile: (name: ProcessName | `postgres-${ServerName}`) => join(root, 'logs', `${name}.log`),
    stateDir: (name: ServiceName) => join(root, 'state', name),
    postgresDir: (name: ServerName) => join(root, 'postgres', name),
  };
}

/** Makes the folders. PostgreSQL, which runs as a user of its own under root, must pass through the upper ones: 0711. */
export function makeFolders(layout: Layout): void {
  const open = 0o711;
  const closed = 0o700;
  for (const [folder, mode] of [
    [layout.root, open],
    [dirname(layout.postgresDir('orders')), open],
    [dirname(layout.configFile('collection')), closed],
    [layout.logs, closed],
    [layout.banksDir, closed],
    ...serviceNames.map((name) => [layout.stateDir(name), closed] as const),
  ] as const) {
    mkdirSync(folder, { recursive: true, mode });
    chmodSync(folder, mode);
  }
}
