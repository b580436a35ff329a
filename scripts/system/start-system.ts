// The whole system as children of this process: two PostgreSQL servers, the bank simulator, the services, the traffic.
// `npm start`, the end-to-end tests, the benchmarks and the sweep all start it here.
import { describeRun } from './describe-run.ts';
import { type Installation, openInstallation } from './installation.ts';
import {
  type Layout,
  layoutOf,
  makeFolders,
  type ProcessName,
  type ServerName,
  type ServiceName,
  serverNames,
  serviceNames,
} from './layout.ts';
import { takeLock } from './lock.ts';
import { refuseFullDisk } from './preflight.ts';
import { type RunFile, removeRunFile, writeRunFile } from './run-file.ts';
import { seed } from './seed.ts';
import { type KeptServer, keepServer } from './servers.ts';
import {
  type BankName,
  type BankSettings,
  demoBanks,
  demoHorizonMs,
  serviceConfigs,
  urlOf,
} from './service-configs.ts';
import { prepareProcess, READY_LIMIT_MS, type ServiceProcess } from './service-processes.ts';
import { endStaleServices, postgresRuns } from './stale.ts';
import { createSteps, type RunStep } from './steps.ts';

export interface StartOptions {
  readonly dataDir: string;
  /** Default: all. Forwarding needs collection (its journal) and query (its subscriber). */
  readonly services?: readonly ServiceName[];
  /** A gentle flow of terminal traffic. Default: none. */
  readonly traffic?: boolean;
  /** `usual`: the same ports on every machine, where they are free. Default: any. */
  readonly ports?: 'usual' | 'any';
  /** Instead of the demo's latencies and decline rates. */
  readonly banks?: Partial<Record<BankName, BankSettings>>;
  /** How long a bank's "not found" stays doubtful. Default: the demo's. */
  readonly horizonMs?: number;
  readonly logLevel?: string;
  /** Told what happens, a line at a time: steps, deaths, returns. */
  readonly log?: (line: string) => void;
  /** Gives up the start: it stops what it started and rejects with StopAsked. */
  readonly signal?: AbortSignal;
}

export type PartName = ProcessName | `postgres-${ServerName}`;

export interface System {
  /** As it is now: pids change when something is restarted. The same as `.ballast/run.json`. */
  readonly runFile: RunFile;
  /** SIGKILL, SIGTERM: resolves when it is gone; it stays down until `restart`. Other signals are only passed on. */
  kill(part: PartName, signal: NodeJS.Signals): Promise<void>;
  /** Ends it where it runs, starts it, and resolves when it is ready. */
  restart(part: PartName): Promise<void>;
  stop(): Promise<void>;
}

const START_LIMIT_MS = READY_LIMIT_MS + 5_000;
const SEED_LIMIT_MS = 20_000;
/** The order of the end: who depends on others goes first. */
const endOrder: readonly ProcessName[] = ['traffic', 'forwarding', 'query', 'collection', 'bank-simulator'];

/** Rejects with AlreadyRunning, or with StepFailed; whatever it started is stopped then. */
export async function startSystem(options: StartOptions): Promise<System> {
  const layout = layoutOf(options.dataDir);
  const say = options.log ?? (() => undefined);
  makeFolders(layout);
  await refuseFullDisk(layout.root);
  const lock = await takeLock(layout);
  const servers: Partial<Record<ServerName, KeptServer>> = {};
  const processes = new Map<ProcessName, ServiceProcess>();
  const stop = async () => {
    for (const name of endOrder) await processes.get(name)?.stop();
    await Promise.all(serverNames.map((name) => servers[name]?.stop()));
    removeRunFile(layout);
    lock.release();
  };
  try {
    removeRunFile(layout);
    return await startParts({ options, layout, say, servers, processes, stop });
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Starting {
  readonly options: StartOptions;
  readonly layout: Layout;
  readonly say: (line: string) => void;
  /** Filled as they start, so that a start that fails half way knows what to stop. */
  readonly servers: Partial<Record<ServerName, KeptServer>>;
  readonly processes: Map<ProcessName, ServiceProcess>;
  readonly stop: () => Promise<void>;
}

async function startParts({ options, layout, say, servers, processes, stop }: Starting): Promise<System> {
  const step = createSteps(say, options.signal);
  const startedAt = new Date().toISOString();
  await endStaleServices(layout, say);
  const installation = await openInstallation(layout, {
    ports: options.ports ?? 'any',
    runsAlready: (name) => serverNames.some((server) => name === `postgres_${server}` && postgresRuns(layout, server)),
    say,
  });
  let describing = false;
  const onChange = () => {
    if (describing) writeRunFile(layout, describe());
  };
  const [orders, main] = await allOrFirstError([startServerStep('orders'), startServerStep('main')]);
  const databases = {
    orders: orders.current().url('orders'),
    forwarding: main.current().url('forwarding'),
    query: main.current().url('query'),
    control: main.current().url('control'),
  };
  const describe = () =>
    describeRun({ layout, installation, startedAt, databases, servers: { orders, main }, processes });

  const configs = serviceConfigs({
    layout,
    installation,
    databases,
    banks: { ...demoBanks, ...options.banks },
    horizonMs: options.horizonMs ?? demoHorizonMs,
    kafka: undefined,
    logLevel: options.logLevel ?? 'info',
  });
  const wanted = options.services ?? serviceNames;
  const runs = (name: ServiceName) => wanted.includes(name);
  // Forwarding reads collection's journal and delivers to query: both have made their tables when it starts.
  const first = serviceNames.filter((name) => runs(name) && name !== 'forwarding');
  await allOrFirstError(first.map((name) => startProcess(name, configs[name])));
  if (runs('forwarding')) await startProcess('forwarding', configs.forwarding);
  if (runs('collection')) await seedStep(step, layout, installation, runs('query'));
  describing = true;
  onChange();
  if (options.traffic === true) await startProcess('traffic', { data_dir: layout.root });

  async function startServerStep(name: ServerName): Promise<KeptServer> {
    const what = `PostgreSQL for ${name === 'orders' ? 'orders alone' : 'everything else'}`;
    const logFile = layout.logFile(`postgres-${name}`);
    const advice = `see that log; a process of an old start may still be ending: try again in a few seconds, or: npm run reset`;
    return step({ what, limitMs: START_LIMIT_MS, logFile, advice }, async () => {
      const port = installation.ports[`postgres_${name}`];
      const server = await keepServer({ name, layout, port, say, onStart: () => onChange() });
      servers[name] = server;
      if (server.current().adopted) say(`  PostgreSQL (${name}) was left running by a killed start; adopted`);
      return server;
    });
  }

  async function startProcess(name: ProcessName, config: unknown): Promise<void> {
    const logFile = layout.logFile(name);
    const advice = `see that log, then: npm run doctor`;
    await step({ what: name, limitMs: START_LIMIT_MS, logFile, advice }, async () => {
      const process = prepareProcess({ name, layout, installation, config, say, onChange });
      processes.set(name, process);
      process.start();
      await process.ready();
    });
  }

  return {
    get runFile() {
      return describe();
    },
    kill: async (part, signal) => {
      const server = serverOf(part);
      if (server === undefined) await processOf(part).kill(signal);
      else await server.kill(signal);
    },
    restart: async (part) => {
      const server = serverOf(part);
      if (server !== undefined) {
        await server.end();
        await server.start();
        return;
      }
      const process = processOf(part);
      await process.stop();
      process.start();
      await process.ready();
    },
    stop,
  };

  function serverOf(part: PartName): KeptServer | undefined {
    return serverNames.map((name) => servers[name]).find((server) => `postgres-${server?.name}` === part);
  }

  function processOf(part: PartName): ServiceProcess {
    const process = processes.get(part as ProcessName);
    if (process === undefined) throw new Error(`${part} was not started`);
    return process;
  }
}

/** Waits for all of them, also when one fails: what is still starting could not be stopped. */
async function allOrFirstError<T extends readonly Promise<unknown>[]>(
  work: readonly [...T],
): Promise<{ [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(work);
  return Promise.all(work) as Promise<{ [K in keyof T]: Awaited<T[K]> }>;
}

async function seedStep(step: RunStep, layout: Layout, installation: Installation, query: boolean): Promise<void> {
  const { ports, secrets } = installation;
  const logFile = layout.logFile('collection');
  const advice = 'an installation from an older version may not fit: npm run reset starts from nothing';
  await step({ what: 'demo merchants, terminals, routes and keys', limitMs: SEED_LIMIT_MS, logFile, advice }, () =>
    seed({
      collectionInternal: urlOf(ports.collection_internal),
      queryInternal: query ? urlOf(ports.query_internal) : undefined,
      adminToken: secrets.admin_token,
      credentialsFile: layout.credentials,
    }),
  );
}
