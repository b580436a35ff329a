// The whole system as children of this process: two PostgreSQL servers, the bank simulator, the services, the traffic.
// `npm start`, the end-to-end tests, the benchmarks and the sweep all start it here.
import { describeRun } from './describe-run.ts';
import { openInstallation } from './installation.ts';
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
import {
  type BankName,
  type BankSettings,
  bankNames,
  demoBanks,
  demoHorizonMs,
  serviceConfigs,
} from './service-configs.ts';
import type { ServiceProcess } from './service-processes.ts';
import { endStaleServices, postgresRuns } from './stale.ts';
import { createStartSteps, type Started } from './start-steps.ts';

export interface StartOptions {
  readonly dataDir: string;
  /** Default: all. Forwarding needs collection (its journal) and query (its subscriber). */
  readonly services?: readonly ServiceName[];
  /** A gentle flow of terminal traffic. Default: none. */
  readonly traffic?: boolean;
  /** A real Kafka beside it, which forwarding publishes to. Default: none, the direct route serves. */
  readonly kafka?: boolean;
  /** `usual`: the same ports on every machine, where they are free. Default: any. */
  readonly ports?: 'usual' | 'any';
  /** Instead of the demo's latencies and decline rates. */
  readonly banks?: Partial<Record<BankName, BankSettings>>;
  /** How long a bank's "not found" stays doubtful. Default: the demo's. */
  readonly horizonMs?: number;
  /** Breakers that judge a bank by few calls, as there are few. Default: the built-in rules. */
  readonly demoRules?: boolean;
  readonly logLevel?: string;
  /** Told what happens, a line at a time: steps, deaths, returns. */
  readonly log?: (line: string) => void;
  /** Gives up the start: it stops what it started and rejects with StopAsked. */
  readonly signal?: AbortSignal;
}

export type PartName = ProcessName | `postgres-${ServerName}` | 'kafka';

export interface System {
  /** As it is now: pids change when something is restarted. The same as `.ballast/run.json`. */
  readonly runFile: RunFile;
  /** SIGKILL, SIGTERM: resolves when it is gone; it stays down until `restart`. Other signals are only passed on. */
  kill(part: PartName, signal: NodeJS.Signals): Promise<void>;
  /** Ends it where it runs, starts it, and resolves when it is ready. */
  restart(part: PartName): Promise<void>;
  stop(): Promise<void>;
}

/** The order of the end: who asks others goes first. */
const endOrder: readonly (readonly ProcessName[])[] = [
  ['traffic'],
  ['forwarding', 'query', 'collection'],
  ['bank-simulator'],
];

/** Rejects with AlreadyRunning, or with StepFailed; whatever it started is stopped then. */
export async function startSystem(options: StartOptions): Promise<System> {
  const layout = layoutOf(options.dataDir);
  const say = options.log ?? (() => undefined);
  makeFolders(layout);
  await refuseFullDisk(layout.root);
  const lock = await takeLock(layout);
  const started: Started = { servers: {}, processes: new Map(), kafka: undefined };
  const stop = async () => {
    for (const names of endOrder) await Promise.all(names.map((name) => started.processes.get(name)?.stop()));
    await Promise.all([started.kafka?.stop(), ...serverNames.map((name) => started.servers[name]?.stop())]);
    removeRunFile(layout);
    lock.release();
  };
  try {
    removeRunFile(layout);
    const describe = await startParts(options, layout, started, say);
    return handleOf(started, describe, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves to what describes it from now on. */
async function startParts(
  options: StartOptions,
  layout: Layout,
  started: Started,
  say: (line: string) => void,
): Promise<() => RunFile> {
  const startedAt = new Date().toISOString();
  await endStaleServices(layout, say);
  const installation = await openInstallation(layout, {
    ports: options.ports ?? 'any',
    runsAlready: (name) => serverNames.some((server) => name === `postgres_${server}` && postgresRuns(layout, server)),
    say,
  });
  let describe: (() => RunFile) | undefined;
  const onChange = () => {
    try {
      if (describe !== undefined) writeRunFile(layout, describe());
    } catch (error) {
      // A full disk: what runs goes on, and the next change writes it again.
      say(`${layout.runFile} could not be written: ${String(error)}`);
    }
  };
  const steps = createStartSteps({ layout, installation, started, say, signal: options.signal, onChange });

  const [orders, main] = await allOrFirstError([steps.server('orders'), steps.server('main')]);
  const kafka = options.kafka === true ? (await steps.kafka()).connection() : undefined;
  const databases = {
    orders: orders.current().url('orders'),
    forwarding: main.current().url('forwarding'),
    query: main.current().url('query'),
    control: main.current().url('control'),
  };
  await steps.control(databases.control, options.demoRules === true ? bankNames : []);
  const configs = serviceConfigs({
    layout,
    installation,
    databases,
    banks: { ...demoBanks, ...options.banks },
    horizonMs: options.horizonMs ?? demoHorizonMs,
    kafka,
    logLevel: options.logLevel ?? 'info',
  });
  const wanted = serviceNames.filter((name) => (options.services ?? serviceNames).includes(name));
  // Forwarding reads collection's journal and delivers to query: both have made their tables when it starts.
  const first = wanted.filter((name) => name !== 'forwarding');
  await allOrFirstError(first.map((name) => steps.process(name, configs[name])));
  if (wanted.includes('forwarding')) await steps.process('forwarding', configs.forwarding);
  if (wanted.includes('collection')) await steps.seed(wanted.includes('query'));

  const { processes } = started;
  describe = () =>
    describeRun({ layout, installation, startedAt, databases, servers: { orders, main }, processes, kafka });
  onChange(); // before the traffic, which reads it
  if (options.traffic === true) await steps.process('traffic', { data_dir: layout.root });
  return describe;
}

function handleOf(started: Started, describe: () => RunFile, stop: () => Promise<void>): System {
  const { servers, processes } = started;
  const serverOf = (part: PartName) =>
    serverNames.map((name) => servers[name]).find((server) => `postgres-${server?.name}` === part);

  function broker() {
    if (started.kafka === undefined) throw new Error('kafka was not started');
    return started.kafka;
  }

  function processOf(part: PartName): ServiceProcess {
    const process = processes.get(part as ProcessName);
    if (process === undefined) throw new Error(`${part} was not started`);
    return process;
  }

  return {
    get runFile() {
      return describe();
    },
    kill: (part, signal) => (part === 'kafka' ? broker().kill(0) : (serverOf(part) ?? processOf(part)).kill(signal)),
    restart: async (part) => {
      if (part === 'kafka') return broker().restart(0);
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
}

/** Waits for all of them, also when one fails: what is still starting could not be stopped. */
async function allOrFirstError<T extends readonly Promise<unknown>[]>(
  work: readonly [...T],
): Promise<{ [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(work);
  return Promise.all(work) as Promise<{ [K in keyof T]: Awaited<T[K]> }>;
}
