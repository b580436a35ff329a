// What a run does to the machine and to the databases while it goes on, seen from outside the services.
import pg from 'pg';
import type { RunFile } from '../../scripts/system/run-file.ts';
import { serverCpuSeconds, usageOf } from './processes.ts';

const LOOK_MS = 500;

export interface Observed {
  readonly seconds: number;
  /** Transactions committed in the order database. */
  readonly commits: number;
  /** Cores used, by process; empty where there is no /proc. */
  readonly cores: Readonly<Record<string, number>>;
  /** The most memory that was seen, in MB, by process; PostgreSQL's is shared and left out. */
  readonly peakMegabytes: Readonly<Record<string, number>>;
}

/** Watches until `end` is called. */
export async function observe(run: RunFile, generatorPid: number): Promise<{ end(): Promise<Observed> }> {
  const pids = new Map(startedServices(run).map(([name, { pid }]) => [name, pid]));
  pids.set('generator', generatorPid);
  const servers = Object.entries(run.postgres).map(([name, { pid }]) => [`postgres (${name})`, pid] as const);
  const peaks = new Map<string, number>();
  const cpu = () => [
    ...[...pids].map(([name, pid]) => [name, usageOf(pid)?.cpuSeconds] as const),
    ...servers.map(([name, pid]) => [name, serverCpuSeconds(pid) ?? undefined] as const),
  ];
  const look = () => {
    for (const [name, pid] of pids) {
      const rss = usageOf(pid)?.rssBytes;
      if (rss !== undefined) peaks.set(name, Math.max(peaks.get(name) ?? 0, rss));
    }
  };
  const timer = setInterval(look, LOOK_MS);
  const commitsBefore = await commitsOf(run.databases.orders);
  const startedAt = performance.now();
  const before = new Map(cpu());
  return {
    end: async () => {
      clearInterval(timer);
      look();
      const seconds = (performance.now() - startedAt) / 1_000;
      const cores = Object.fromEntries(
        cpu().flatMap(([name, used]) => {
          const began = before.get(name);
          return used === undefined || began === undefined ? [] : [[name, (used - began) / seconds]];
        }),
      );
      const commits = (await commitsOf(run.databases.orders)) - commitsBefore;
      const peakMegabytes = Object.fromEntries([...peaks].map(([name, bytes]) => [name, bytes / 1e6]));
      return { seconds, commits, cores, peakMegabytes };
    },
  };
}

export function startedServices(run: RunFile) {
  return Object.entries(run.services).flatMap(([name, service]) =>
    service === undefined ? [] : [[name, service] as const],
  );
}

/** PostgreSQL's sessions hand their counts in at most a second late; a look between two runs is late by nothing. */
async function commitsOf(url: string): Promise<number> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ commits: string }>(
      'select xact_commit::text as commits from pg_stat_database where datname = current_database()',
    );
    return Number(rows[0]?.commits ?? 0);
  });
}

export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
