// Runs scenarios, a few side by side (they wait more than they work), each on a database of its own.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Server, startServer } from '@ballast/database/embedded';
import pg from 'pg';
import type { Plant } from './patches.ts';
import { type Outcome, runScenario, type ScenarioDatabase } from './run-scenario.ts';
import { type Scenario, scenarios } from './scenarios.ts';

/** `order status/attempt state`: the sweep has shown nothing about what it never met. */
const interestingStates = [
  'processing/sent',
  'in_doubt/in_doubt',
  'approved/approved',
  'declined/declined',
  'not_completed/not_found',
  'not_completed/reversing',
  'not_completed/reversed',
  'not_completed/not_sent',
  'cancelled/-',
  'reversing/reversing',
  'reversing/needs_person',
  'reversed/reversed',
  'reversal_refused/reversal_refused',
];

export interface SweepServer {
  database(scenario: Scenario): Promise<ScenarioDatabase>;
  /** `keep`: the databases stay for whoever looks for the reason. */
  stop(keep: boolean): Promise<void>;
  readonly place: string;
  /** Lets what was written for tests make its databases here. */
  serveTests(): void;
}

export async function startSweepServer(): Promise<SweepServer> {
  const base = mkdtempSync(join(tmpdir(), 'ballast-sweep-pg-'));
  chmodSync(base, 0o711); // entered by the user that PostgreSQL runs as
  const settings = { shared_buffers: '128MB' };
  const shared = await startServer({ dataDir: join(base, 'data'), logFile: join(base, 'postgres.log'), settings });
  let count = 0;

  async function onShared(): Promise<ScenarioDatabase> {
    const name = `sweep_${++count}`;
    await shared.createDatabase(name);
    return {
      url: shared.url(name),
      drop: async () => {
        const client = new pg.Client(shared.url('postgres'));
        await client.connect();
        await client.query(`drop database ${name} with (force)`);
        await client.end();
      },
      killServer: () => Promise.reject(new Error('BUG: this scenario has no server of its own')),
    };
  }

  async function onItsOwn(): Promise<ScenarioDatabase> {
    const place = join(base, `own-${++count}`);
    // What has not been waited for stays in memory for long: a server that loses acknowledged commits is sure to show it.
    const options = { dataDir: place, logFile: `${place}.log`, settings: { ...settings, wal_writer_delay: '10s' } };
    let server: Server = await startServer(options);
    await server.createDatabase('orders');
    const { port } = server;
    return {
      url: server.url('orders'),
      drop: () => server.stop(),
      killServer: async () => {
        process.kill(server.pid, 'SIGKILL');
        server = await startServer({ ...options, port });
      },
    };
  }

  return {
    place: base,
    serveTests: () => {
      process.env['BALLAST_TEST_POSTGRES'] = shared.url('postgres');
    },
    database: (scenario) => (scenario.ownPostgres === true ? onItsOwn() : onShared()),
    stop: async (keep) => {
      await shared.stop();
      if (!keep) rmSync(base, { recursive: true, force: true });
    },
  };
}

/** Scenarios in their order, `atOnce` side by side; each outcome is told as it comes. */
export async function sweep(
  chosen: readonly Scenario[],
  server: SweepServer,
  atOnce: number,
  told: (outcome: Outcome) => void,
  plant?: string,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const waiting = chosen.values();
  const worker = async () => {
    for (const scenario of waiting) {
      const outcome = await runScenario(scenario, await server.database(scenario), plant);
      outcomes.push(outcome);
      told(outcome);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, chosen.length) }, worker));
  return outcomes;
}

const invariants = [
  'I-01',
  'I-02',
  'I-03',
  'I-04',
  'I-05',
  'I-06',
  'I-07',
  'I-08',
  'I-10',
  'I-14',
  'I-20',
  'I-30',
  'I-34',
];

/** Interesting states that no scenario met, and invariants that none gave anything to look at. */
export function unreached(outcomes: readonly Outcome[]): string[] {
  const met = new Set(outcomes.flatMap(({ states, evaluated }) => [...states, ...evaluated]));
  return [...interestingStates, ...invariants].filter((one) => !met.has(one));
}

export function scenariosNamed(names: readonly string[]): Scenario[] {
  return names.map((name) => {
    const found = scenarios.find((scenario) => scenario.name === name);
    if (found === undefined) throw new Error(`there is no scenario "${name}"`);
    return found;
  });
}

/** Runs a fault's own scenarios: what they find is what makes the sweep red. */
export async function sweepPlanted(plant: Plant, server: SweepServer): Promise<string[]> {
  const outcomes = await sweep(scenariosNamed(plant.scenarios), server, 1, () => undefined, plant.name);
  return outcomes.flatMap(({ violations }) => violations);
}
