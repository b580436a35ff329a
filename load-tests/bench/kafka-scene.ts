// What the benchmarks of forwarding stand on: the whole system on a real broker, hands on its parts, and what forwarding
// says of itself.
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type RunningKafka, startKafka } from '@ballast/infra-kafka';
import { adminCall } from '../../scripts/system/admin-call.ts';
import { layoutOf, serviceNames } from '../../scripts/system/layout.ts';
import { type RunFile, readCredentials, serviceOf } from '../../scripts/system/run-file.ts';
import type { System } from '../../scripts/system/start-system.ts';
import type { Checked } from '../checker/check.ts';
import { type Generator, openGenerator } from '../generator/open-generator.ts';
import type { Arrival, RunResult } from '../generator/plan.ts';
import type { Say } from './findings.ts';
import { withClient } from './observe.ts';
import { checkAll, onSystemOfItsOwn, terminalsOf, type Worked } from './scene.ts';
import { openTopicEnds } from './topic.ts';

/** Nothing of what is measured here is a bank's doing. */
const fast = { latency: { p50_ms: 0, p99_ms: 0 }, decline_rate: 0 };
const LOOK_MS = 100;
const ROUTE_LIMIT_MS = 60_000;
const CAUGHT_UP_LIMIT_MS = 90_000;

export interface KafkaScene {
  readonly system: System;
  /** The running broker, by the hand that can also freeze it. */
  readonly kafka: RunningKafka;
  readonly generator: Generator;
  readonly historyFile: string;
}

/** The whole system with Kafka, on the Kafka route. */
export function onKafkaSystem(name: string, say: Say, work: (scene: KafkaScene) => Promise<Worked>): Promise<boolean> {
  const worked = async (system: System): Promise<Worked> => {
    const dataDir = system.runFile.data_dir;
    const kafka = await startKafka({ dataDir: layoutOf(dataDir).kafkaDir, brokers: 1 }); // adopts the one that runs
    const generator = openGenerator();
    try {
      const scene = { system, kafka, generator, historyFile: join(dataDir, 'bench.history.jsonl') };
      await untilOnKafka(scene);
      return await work(scene);
    } finally {
      generator.close();
    }
  };
  const banks = { bank_a: fast, bank_b: fast, bank_c: fast };
  return onSystemOfItsOwn(name, say, worked, { kafka: true, services: serviceNames, banks, logLevel: 'info' });
}

interface Status {
  readonly subscribers: readonly {
    readonly subscriber: string;
    readonly state: string;
    readonly reading: string;
    readonly lag_seconds: number;
    readonly pending_events: number | null;
  }[];
  readonly sources: readonly {
    readonly state: string;
    readonly route: string;
    readonly retained_bytes: number | null;
  }[];
}

/** What forwarding says, or another forwarder; null: it does not answer. */
export async function statusOf(
  run: RunFile,
  internalUrl = serviceOf(run, 'forwarding').internal_url,
): Promise<Status | null> {
  const url = `${internalUrl}/admin/subscribers`;
  const asking = adminCall('GET', url, { token: readCredentials(run).admin_token, limitMs: 1_000 });
  return asking.then(
    (status) => status as Status,
    () => null, // dead or busy: whoever asks decides
  );
}

/** Waits until `look` is true; rejects, saying so, when it is not in time. */
async function until(what: string, limitMs: number, look: () => Promise<boolean>): Promise<number> {
  const startedAt = performance.now();
  for (;;) {
    if (await look()) return performance.now() - startedAt;
    if (performance.now() - startedAt > limitMs) throw new Error(`${what}: not within ${limitMs / 1_000} s`);
    await pause(LOOK_MS);
  }
}

/** Until subscribers are served by Kafka; resolves to the ms that it took. */
export function untilOnKafka({ system }: Pick<KafkaScene, 'system'>): Promise<number> {
  return until('the Kafka route', ROUTE_LIMIT_MS, async () => {
    const status = await statusOf(system.runFile);
    return status?.sources[0]?.route === 'kafka';
  });
}

/** Until Kafka has what the journal has, whoever else is served. */
export function untilTopicIsUpToDate({ system }: KafkaScene): Promise<number> {
  return until('the topic up to date', CAUGHT_UP_LIMIT_MS, async () => {
    const feed = (await statusOf(system.runFile))?.subscribers.find(({ subscriber }) => subscriber === 'kafka');
    return feed?.state === 'live' && feed.reading === 'log' && feed.pending_events === 0 && feed.lag_seconds < 1;
  });
}

/** Until the read model has applied as many events as the journal holds, and Kafka has taken what was on its way to it. */
export async function untilCaughtUp(scene: KafkaScene): Promise<number> {
  const { orders, query } = scene.system.runFile.databases;
  const count = (url: string, sql: string) =>
    withClient(url, async (client) => Number((await client.query<{ count: string }>(sql)).rows[0]?.count));
  const took = await until('the read model caught up', CAUGHT_UP_LIMIT_MS, async () => {
    const applied = await count(query, 'select sum(version)::text as count from read_model.consumer_position');
    return applied === (await count(orders, 'select count(*)::text as count from order_event'));
  });
  await untilTopicIsUpToDate(scene);
  return took;
}

/** Query as a subscriber: neither delivered to nor consuming, so that only broker and forwarding share the cores. */
export async function withoutQuery({ system }: KafkaScene): Promise<void> {
  const { runFile } = system;
  const url = `${serviceOf(runFile, 'forwarding').internal_url}/admin/subscribers/query/pause`;
  await adminCall('POST', url, { token: readCredentials(runFile).admin_token });
  await system.kill('query', 'SIGTERM');
}

/** Until there are so many records in the topic, or more; while it is made anew there is none. */
export async function untilTopicHolds(scene: KafkaScene, records: number): Promise<number> {
  const topic = await openTopicCount(scene);
  try {
    return await until(`${records} records in the topic`, CAUGHT_UP_LIMIT_MS, async () => {
      const count = await topic.count().catch(() => 0);
      return count >= records;
    });
  } finally {
    await topic.close();
  }
}

/** Records in the topic. */
export async function openTopicCount({ kafka }: KafkaScene) {
  const { ends, close } = await openTopicEnds(kafka.bootstrap);
  return { count: async () => (await ends()).reduce((sum, end) => sum + end, 0), close };
}

let runs = 0;

/** Payments; each makes two events. Resolves when the last answer is there and all are in the history. */
export async function pay(
  { system, generator, historyFile }: KafkaScene,
  arrival: Arrival,
  [warmupMs, durationMs]: readonly [number, number],
  meanwhile: () => Promise<void> = () => Promise.resolve(),
): Promise<RunResult> {
  const { runFile } = system;
  const perSecond = arrival.kind === 'open' ? arrival.perSecond : SATURATION_PER_SECOND;
  const prepared = await generator.prepare({
    run: ++runs,
    target: {
      kind: 'payments',
      url: serviceOf(runFile, 'collection').url,
      terminals: readCredentials(runFile).merchants.flatMap(terminalsOf),
    },
    arrival,
    warmupMs,
    durationMs,
    prepare: Math.min(MOST_PREPARED, Math.ceil((perSecond * (warmupMs + durationMs)) / 1_000)),
    historyFile,
  });
  const [{ result, written }] = await Promise.all([prepared.go(), meanwhile()]);
  await written;
  return result;
}

/** Signed beforehand for a closed run; beyond it, and beyond what fits in memory, the generator signs meanwhile. */
const SATURATION_PER_SECOND = 3_000;
const MOST_PREPARED = 60_000;

export const notApproved = ({ statuses }: RunResult): number =>
  Object.entries(statuses).reduce((sum, [status, count]) => (status === '201' ? sum : sum + count), 0);

/** Every invariant over everything so far. `query`: the read model too, which has to be up. */
export function checkScene({ system, historyFile }: KafkaScene, query: boolean): Promise<Checked> {
  return checkAll(system.runFile, historyFile, undefined, query);
}
