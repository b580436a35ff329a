// Kafka killed, frozen, and slow, one after the other, while payments make 1,000 events a second: the subscriber gets them
// directly meanwhile, the slot keeps little, payments notice nothing, and the topic has everything in the end.
import { setTimeout as pause } from 'node:timers/promises';
import { readCredentials } from '../../scripts/system/run-file.ts';
import { type Delay, watchDelay } from './delivery-delay.ts';
import { type BenchFinding, found, type Say, target } from './findings.ts';
import { type KafkaScene, notApproved, pay, statusOf, untilOnKafka } from './kafka-scene.ts';
import { quantile } from './quantile.ts';
import { round } from './statistics.ts';

const PAYMENTS_PER_SECOND = 500;
const CONNECTIONS = 300;
const WARMUP_MS = 2_000;
const RUN_MS = 50_000;
const AWAY_MS = 7_000;
/** Slow: it runs for the second of these, then stands still for the first, again and again. */
const [STILL_MS, RUNS_MS] = [900, 100];
const REST_MS = 2_000;
const LOOK_MS = 250;
const MOST_DELAY_MS = 2_000;
const MOST_RETAINED_MB = 64;

interface Outage {
  readonly name: string;
  /** ms since 1970: from the injury until subscribers are served by Kafka again. */
  readonly from: number;
  readonly to: number;
}

export async function killAndFreeze(scene: KafkaScene, say: Say): Promise<BenchFinding[]> {
  const { runFile } = scene.system;
  const merchants = readCredentials(runFile).merchants.map(({ merchant_id }) => merchant_id.slice('mer_'.length));
  const retained = watchRetained(scene);
  const watch = await watchDelay(runFile.databases.orders, runFile.databases.query, merchants);
  const outages: Outage[] = [];
  const arrival = { kind: 'open', perSecond: PAYMENTS_PER_SECOND, maxConnections: CONNECTIONS } as const;
  const paid = await pay(scene, arrival, [WARMUP_MS, RUN_MS], async () => {
    await pause(WARMUP_MS + REST_MS);
    for (const [name, injure, heal] of injuriesOf(scene)) {
      const from = Date.now();
      await injure();
      await heal();
      const backMs = await untilOnKafka(scene);
      outages.push({ name, from, to: Date.now() });
      say(`Kafka was ${name} for ${AWAY_MS / 1_000} s; it serves again ${(backMs / 1_000).toFixed(1)} s later`);
      await pause(REST_MS);
    }
  });
  const most = await retained.close();
  await pause(MOST_DELAY_MS); // what was committed last has its time too
  return findingsOf(outages, await watch.close(), most, notApproved(paid));
}

function injuriesOf({ system, kafka }: KafkaScene) {
  const kill = async () => {
    await system.kill('kafka', 'SIGKILL');
    await pause(AWAY_MS);
  };
  const freeze = async () => {
    kafka.pause(0);
    await pause(AWAY_MS);
  };
  const slow = async () => {
    for (const until = performance.now() + AWAY_MS; performance.now() < until; ) {
      kafka.pause(0);
      await pause(STILL_MS);
      kafka.resume(0);
      await pause(RUNS_MS);
    }
  };
  return [
    ['killed', kill, () => system.restart('kafka')],
    ['frozen', freeze, async () => kafka.resume(0)],
    ['slow', slow, async () => undefined],
  ] as const;
}

function watchRetained({ system }: KafkaScene) {
  let most = 0;
  let closed = false;
  const looking = (async () => {
    while (!closed) {
      most = Math.max(most, (await statusOf(system.runFile))?.sources[0]?.retained_bytes ?? 0);
      await pause(LOOK_MS);
    }
  })();
  return {
    close: async () => {
      closed = true;
      await looking;
      return most;
    },
  };
}

function findingsOf(
  outages: readonly Outage[],
  { delays, missing }: { readonly delays: readonly Delay[]; readonly missing: number },
  retainedBytes: number,
  failed: number,
): BenchFinding[] {
  const within = ({ from, to }: Outage) =>
    delays.filter(({ occurredAt }) => occurredAt >= from && occurredAt < to).map(({ ms }) => ms);
  const usual = delays.filter(({ occurredAt }) => occurredAt < (outages[0]?.from ?? 0)).map(({ ms }) => ms);
  const retained = retainedBytes / 1e6;
  return [
    found('delay_usual_p99_ms', round(quantile(usual, 0.99)), [
      'delay to query before, p50/p99',
      `${quantile(usual, 0.5).toFixed(0)}/${quantile(usual, 0.99).toFixed(0)} ms, seen every 100 ms`,
    ]),
    ...outages.map((outage) => {
      const ms = within(outage);
      const p99 = quantile(ms, 0.99);
      return found(
        `delay_${outage.name}`,
        { events: ms.length, p50_ms: round(quantile(ms, 0.5)), p99_ms: round(p99), worst_ms: round(quantile(ms, 1)) },
        [
          `while Kafka is ${outage.name}`,
          `${quantile(ms, 0.5).toFixed(0)}/${p99.toFixed(0)} ms, worst ${quantile(ms, 1).toFixed(0)} ms, of ${ms.length} events looked at in ${((outage.to - outage.from) / 1_000).toFixed(0)} s`,
        ],
        target(`p99 < ${MOST_DELAY_MS} ms`, p99 < MOST_DELAY_MS),
      );
    }),
    found(
      'delay_missing',
      missing,
      ['not delivered 2 s after the end', `${missing} of those looked at`],
      target('none', missing === 0),
    ),
    found(
      'retained_mb',
      round(retained, 1),
      ['log kept by the slot, at most', `${retained.toFixed(1)} MB`],
      target(`< ${MOST_RETAINED_MB} MB`, retained < MOST_RETAINED_MB),
    ),
    found(
      'outages_not_approved',
      failed,
      ['payments not approved meanwhile', String(failed)],
      target('none', failed === 0),
    ),
  ];
}
