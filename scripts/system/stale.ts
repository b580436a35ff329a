// What a killed launcher left running in a data folder. Services are ended, they would work with an old configuration;
// PostgreSQL is adopted by `startServer`, which knows its own.
import { setTimeout as pause } from 'node:timers/promises';
import { reachableDataDir, runAs } from '@ballast/database/embedded';
import { CannotRun } from './cannot-run.ts';
import { type Layout, type ProcessName, type serverNames, serviceNames } from './layout.ts';
import { endProcess, processesBelow, processesNaming, signalIfThere } from './processes.ts';

const GRACE_MS = 6_000;
/** A broker writes its last segments first. */
const KAFKA_GRACE_MS = 10_000;
const POLL_MS = 100;

export async function endStaleServices(layout: Layout, say: (line: string) => void): Promise<void> {
  const names: ProcessName[] = ['traffic', ...serviceNames];
  const found = names.flatMap((name) => processesNaming(layout.configFile(name)).map((pid) => ({ name, pid })));
  if (found.length === 0) return;
  say(`found still running after a kill: ${found.map(({ name, pid }) => `${name} (${pid})`).join(', ')}; ending`);
  await Promise.all(found.map(({ pid }) => endProcess(pid, GRACE_MS)));
}

/** Where PostgreSQL's data really are: elsewhere than asked for when its user cannot enter there. */
export function realPostgresDir(layout: Layout, name: (typeof serverNames)[number]): string {
  return reachableDataDir(layout.postgresDir(name), runAs());
}

/** True: a postmaster of this data folder is there. A frozen one is woken, so that it can be adopted or stopped. */
export function postgresRuns(layout: Layout, name: (typeof serverNames)[number]): boolean {
  const pids = processesNaming(realPostgresDir(layout, name));
  for (const pid of pids) signalIfThere(pid, 'SIGCONT');
  return pids.length > 0;
}

/** Fast shutdown, and an immediate one when that takes too long. Loses nothing that was committed. */
export async function endStalePostgres(layout: Layout, name: (typeof serverNames)[number]): Promise<void> {
  const directory = realPostgresDir(layout, name);
  for (const pid of processesNaming(directory)) signalIfThere(pid, 'SIGCONT');
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    const until = performance.now() + GRACE_MS;
    for (const pid of processesNaming(directory)) signalIfThere(pid, signal);
    while (performance.now() < until) {
      if (processesNaming(directory).length === 0) return;
      await pause(POLL_MS);
    }
  }
  throw new CannotRun(`PostgreSQL in ${directory} does not stop`);
}

/** A Kafka of this folder: a clean shutdown, or SIGKILL. */
export async function endStaleKafka(layout: Layout): Promise<void> {
  await Promise.all(processesBelow(layout.kafkaDir).map((pid) => endProcess(pid, KAFKA_GRACE_MS)));
}
