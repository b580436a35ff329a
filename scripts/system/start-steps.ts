// The steps of a start, each with its limit, its log and its advice.
import { type RunningKafka, startKafka } from '@ballast/infra-kafka';
import { openControlDatabase } from './control-database.ts';
import type { Installation } from './installation.ts';
import type { Layout, ProcessName, ServerName } from './layout.ts';
import { seed } from './seed.ts';
import { type KeptServer, keepServer } from './servers.ts';
import { urlOf } from './service-configs.ts';
import { prepareProcess, READY_LIMIT_MS, type ServiceProcess } from './service-processes.ts';
import { createSteps } from './steps.ts';

/** Filled as they start, so that a start that fails half way knows what to stop. */
export interface Started {
  readonly servers: Partial<Record<ServerName, KeptServer>>;
  readonly processes: Map<ProcessName, ServiceProcess>;
  kafka: RunningKafka | undefined;
}

export interface StartStepsOptions {
  readonly layout: Layout;
  readonly installation: Installation;
  readonly started: Started;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal | undefined;
  /** Something has another pid now. */
  readonly onChange: () => void;
}

const SERVER_LIMIT_MS = 60_000;
/** The first time its jars are fetched: 43 MB. */
const KAFKA_LIMIT_MS = 180_000;
const SERVICE_LIMIT_MS = READY_LIMIT_MS + 5_000;
const SEED_LIMIT_MS = 20_000;
const DOCTOR = 'see that log, then: npm run doctor';
const RESET = 'an installation from an older version may not fit: npm run reset starts from nothing';

export type StartSteps = ReturnType<typeof createStartSteps>;

export function createStartSteps({ layout, installation, started, say, signal, onChange }: StartStepsOptions) {
  const step = createSteps(say, signal);
  const { ports, secrets } = installation;

  return {
    server: (name: ServerName): Promise<KeptServer> => {
      const what = `PostgreSQL for ${name === 'orders' ? 'orders alone' : 'everything else'}`;
      const logFile = layout.logFile(`postgres-${name}`);
      const advice =
        'see that log; a server of an old start may still be ending: try again in a few seconds, or: npm run reset';
      return step({ what, limitMs: SERVER_LIMIT_MS, logFile, advice }, async () => {
        const server = await keepServer({ name, layout, port: ports[`postgres_${name}`], say, onStart: onChange });
        started.servers[name] = server;
        if (server.current().adopted) say(`  PostgreSQL (${name}) was left running by a killed start; adopted`);
        return server;
      });
    },

    kafka: (): Promise<RunningKafka> => {
      const advice = 'Kafka needs Java 17 and Maven; without --kafka the direct route serves';
      return step({ what: 'Kafka', limitMs: KAFKA_LIMIT_MS, advice }, async () => {
        started.kafka = await startKafka({ dataDir: layout.kafkaDir, brokers: 1 });
        return started.kafka;
      });
    },

    control: (url: string, channels: readonly string[]): Promise<void> => {
      const logFile = layout.logFile('postgres-main');
      return step({ what: 'control database', limitMs: SERVER_LIMIT_MS, logFile, advice: RESET }, () =>
        openControlDatabase({
          url,
          channels,
          credentialsFile: layout.credentials,
          adminToken: secrets.admin_token,
        }),
      );
    },

    process: (name: ProcessName, config: unknown): Promise<void> => {
      const logFile = layout.logFile(name);
      return step({ what: name, limitMs: SERVICE_LIMIT_MS, logFile, advice: DOCTOR }, async () => {
        const process = prepareProcess({ name, layout, installation, config, say, onChange });
        started.processes.set(name, process);
        process.start();
        await process.ready();
      });
    },

    /** `query`: it runs, and merchants get API keys. */
    seed: async (query: boolean): Promise<void> => {
      const what = 'demo merchants, terminals, routes and keys';
      const logFile = layout.logFile('collection');
      await step({ what, limitMs: SEED_LIMIT_MS, logFile, advice: RESET }, () =>
        seed({
          collectionInternal: urlOf(ports.collection_internal),
          queryInternal: query ? urlOf(ports.query_internal) : undefined,
          adminToken: secrets.admin_token,
          credentialsFile: layout.credentials,
        }),
      );
    },
  };
}
