// Kafka killed, frozen, and slow, one after the other, while payments make 1,000 events a second: the subscriber gets them
// directly meanwhile, the slot keeps little, payments notice nothing, and the topic has everything in the end.
//
//   BENCH_OUTAGE_SECONDS=600 npm run bench -- forwarding    away for ten minutes; without it for seven seconds
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { readCredentials } from '../../scripts/system/run-file.ts';
import type { RunResult } from '../generator/plan.ts';
import { type Delay, watchDelay } from './delivery-delay.ts';
import { type BenchFinding, found, type Say, target } from './findings.ts';
import { type KafkaScene, notApproved, pay, untilOnKafka } from './kafka-scene.ts';
import { quantile } from './quantile.ts';
import { round } from './statistics.ts';

const PAYMENTS_PER_SECOND = 500;
const CONNECTIONS = 300;
const WARMUP_MS = 2_000;
const AWAY_MS = 7_000;
/** Killed, it stays away for so long. */
const LONG_AWAY_MS = Number(process.env['BENCH_OUTAGE_SECONDS'] ?? AWAY_MS / 1_000) * 1_000;
/** What has piled up while it was away has to go into the topic, beside what comes. */
const RUN_MS = 45_000 + 1.2 * (LONG_AWAY_MS - AWAY_MS);
/** From the injury, and from the healing, until everybody has noticed. */
const SWITCHING_MS = 10_000;
/** Slow: it runs for the second of these, then stands still for the first, again and again. */
const [STILL_MS, RUNS_MS] = [900, 100];
const REST_MS = 2_000;
const LOOK_MS = 250;
const MOST_DELAY_MS = 2_000;
const MOST_UNCONFIRMED_MB = 64;

interface Outage {
  readonly name: string;
  /** ms since 1970: from the injury, over the healing, until subscribers are served by Kafka again. */
  readonly from: number;
  readonly healed: number;
  readonly to: number;
}

export async function killAndFreeze(scene: KafkaScene, say: Say): Promise<BenchFinding[]> {
  const { runFile } = scene.system;
  const merchants = readCredentials(runFile).merchants.map(({ merchant_id }) => merchant_id.slice('mer_'.length));
  const slot = await watchSlot(runFile.databases.orders);
  const watch = await watchDelay(runFile.databases.orders, runFile.databases.query, merchants);
  const outages: Outage[] = [];
  const arrival = { kind: 'open', perSecond: PAYMENTS_PER_SECOND, maxConnections: CONNECTIONS } as const;
  const paid = await pay(scene, arrival, [WARMUP_MS, RUN_MS], async () => {
    await pause(WARMUP_MS + REST_MS);
    for (const [name, injure, heal] of injuriesOf(scene)) {
      const from = Date.now();
      await injure();
      const healed = Date.now();
      await heal();
      const backMs = await untilOnKafka(scene);
      outages.push({ name, from, healed, to: Date.now() });
      say(`Kafka was ${name} for ${seconds(healed - from)}; it serves again ${seconds(backMs)} later`);
      await pause(REST_MS);
    }
  });
  const kept = await slot.close();
  return findingsOf(outages, await watch.close(), kept, paid);
}

function injuriesOf({ system, kafka }: KafkaScene) {
  const kill = async () => {
    await system.kill('kafka', 'SIGKILL');
    await pause(LONG_AWAY_MS);
  };
  const freeze = async () => {
    await kafka.pause(0);
    await pause(AWAY_MS);
  };
  const slow = async () => {
    for (const until = performance.now() + AWAY_MS; performance.now() < until; ) {
      await kafka.pause(0);
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

interface Kept {
  /** Log that forwarding has not confirmed: what a crash would have it read again. */
  unconfirmed: number;
  /**
   * Log that the server keeps for the slot. More, also when nothing is unconfirmed: PostgreSQL moves this on in steps, some
   * 15 s apart.
   */
  retained: number;
}

/** As the order database has it, so that it is known also while forwarding does not answer. */
async function watchSlot(ordersUrl: string) {
  const client = new pg.Client(ordersUrl);
  await client.connect();
  const most: Kept = { unconfirmed: 0, retained: 0 };
  let closed = false;
  const looking = (async () => {
    while (!closed) {
      const { rows } = await client.query<{ unconfirmed: string; retained: string }>(
        `select max(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn))::text as unconfirmed,
           max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::text as retained
         from pg_replication_slots`,
      );
      most.unconfirmed = Math.max(most.unconfirmed, Number(rows[0]?.unconfirmed ?? 0));
      most.retained = Math.max(most.retained, Number(rows[0]?.retained ?? 0));
      await pause(LOOK_MS);
    }
  })();
  return {
    close: async () => {
      closed = true;
      await looking;
      await client.end();
      return most;
    },
  };
}

function findingsOf(
  outages: readonly Outage[],
  { delays, missing }: { readonly delays: readonly Delay[]; readonly missing: number },
  kept: Kept,
  paid: RunResult,
): BenchFinding[] {
  const switching = ({ from, healed, to }: Outage) =>
    delays
      .filter(
        ({ occurredAt }) =>
          (occurredAt >= from && occurredAt < Math.min(healed, from + SWITCHING_MS)) ||
          (occurredAt >= healed && occurredAt < to),
      )
      .map(({ ms }) => ms);
  const usual = delays.filter(({ occurredAt }) => occurredAt < (outages[0]?.from ?? 0)).map(({ ms }) => ms);
  const [unconfirmed, retained] = [kept.unconfirmed / 1e6, kept.retained / 1e6];
  const failed = notApproved(paid);
  return [
    found('delay_usual_p99_ms', round(quantile(usual, 0.99)), [
      'delay to query before, p50/p99',
      `${quantile(usual, 0.5).toFixed(0)}/${quantile(usual, 0.99).toFixed(0)} ms, seen every 100 ms`,
    ]),
    ...outages.map((outage) => {
      const ms = switching(outage);
      const p99 = quantile(ms, 0.99);
      return found(
        `delay_${outage.name}`,
        {
          away_s: round((outage.healed - outage.from) / 1_000),
          events: ms.length,
          p50_ms: round(quantile(ms, 0.5)),
          p99_ms: round(p99),
          worst_ms: round(quantile(ms, 1)),
        },
        [
          `while switching, Kafka ${outage.name}`,
          `${quantile(ms, 0.5).toFixed(0)}/${p99.toFixed(0)} ms, worst ${quantile(ms, 1).toFixed(0)} ms, of ${ms.length} events looked at; away for ${seconds(outage.healed - outage.from)}`,
        ],
        target(`p99 < ${MOST_DELAY_MS} ms`, p99 < MOST_DELAY_MS),
      );
    }),
    found(
      'delay_missing',
      missing,
      ['not delivered in the end', `${missing} of those looked at`],
      target('none', missing === 0),
    ),
    found(
      'unconfirmed_mb',
      { unconfirmed: round(unconfirmed, 1), retained: round(retained, 1) },
      [
        'unconfirmed log, at most',
        `${unconfirmed.toFixed(1)} MB (kept for the slot in all: ${retained.toFixed(1)} MB)`,
      ],
      target(`< ${MOST_UNCONFIRMED_MB} MB`, unconfirmed < MOST_UNCONFIRMED_MB),
    ),
    found(
      'outages_not_approved',
      failed,
      ['payments not approved meanwhile', `${failed} of ${JSON.stringify(paid.statuses)}`],
      target('none', failed === 0),
    ),
  ];
}

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;
