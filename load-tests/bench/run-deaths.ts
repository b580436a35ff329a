// kill -9, again and again, of whatever stands between a commit and its effect at the merchant, in an order that a seed
// decides: the part, how long it stays down, and how long it is left alone. Payments go on all the while. A run is repeated
// by its seed; what the machine makes of the moments is not.
//
//   BENCH_KILLS=200 npm run bench -- deaths    the full number, some 13 minutes; without it 60
//   BENCH_SEED=…                               another order
import { setTimeout as pause } from 'node:timers/promises';
import type { PartName } from '../../scripts/system/start-system.ts';
import type { RunResult } from '../generator/plan.ts';
import { type BenchFinding, found, promise, type Say, target } from './findings.ts';
import { checkScene, type KafkaScene, notApproved, onKafkaSystem, pay, untilCaughtUp } from './kafka-scene.ts';
import { oddAnswers, untilQuiet } from './scene.ts';
import { round } from './statistics.ts';
import { readTopic } from './topic.ts';
import type { Read } from './topic-fold.ts';

const KILLS = Number(process.env['BENCH_KILLS'] ?? 60);
const SEED = Number(process.env['BENCH_SEED'] ?? 20_261_124);
/** Kills fit with room, also on a busy machine; one that is slower still does fewer, and says so. */
const LIMIT_MS = KILLS * 5_000;
const PAYMENTS_PER_SECOND = 60;
const CONNECTIONS = 400;
const ROUND_MS = 20_000;
/** A part stays down, and everything is left alone, for up to so long. */
const MOST_DOWN_MS = 800;
const MOST_REST_MS = 1_500;
const QUIET_LIMIT_MS = 60_000;

const parts = [
  'forwarding',
  'kafka',
  'postgres-orders',
  'postgres-main',
  'query',
] as const satisfies readonly PartName[];

interface Death {
  readonly part: (typeof parts)[number];
  /** ms since 1970. */
  readonly at: number;
}

export async function runDeaths(say: Say): Promise<boolean> {
  say(`${KILLS} kills, seed ${SEED}`);
  return onKafkaSystem('deaths', say, async (scene) => {
    const deaths: Death[] = [];
    let over = false;
    const killing = killAll(scene, deaths, say).finally(() => {
      over = true;
    });
    killing.catch(() => undefined); // told below, when the payments under way are answered
    const rounds: RunResult[] = [];
    const arrival = { kind: 'open', perSecond: PAYMENTS_PER_SECOND, maxConnections: CONNECTIONS } as const;
    while (!over) rounds.push(await pay(scene, arrival, [0, ROUND_MS]));
    await killing;
    say('waiting until everything is decided and delivered …');
    const quietAfterMs = await untilQuiet(scene.system.runFile, QUIET_LIMIT_MS);
    const caughtUpMs = await untilCaughtUp(scene);
    say('checking the invariants, and the topic against the journal …');
    const topic = await readTopic(scene.kafka.bootstrap, scene.system.runFile.databases.orders);
    const checked = await checkScene(scene, true);
    return {
      findings: [
        ...findingsOf(deaths, rounds, topic),
        found(
          'decided_and_delivered_s',
          {
            decided: quietAfterMs === null ? null : round(quietAfterMs / 1_000, 1),
            delivered: round(caughtUpMs / 1_000, 1),
          },
          [
            'decided, and then delivered',
            `${quietAfterMs === null ? 'never' : `${(quietAfterMs / 1_000).toFixed(1)} s`}, and ${(caughtUpMs / 1_000).toFixed(1)} s, after the last kill`,
          ],
          promise('both', quietAfterMs !== null),
        ),
        await oddAnswers(scene.historyFile),
      ],
      checked,
    };
  });
}

async function killAll({ system }: KafkaScene, deaths: Death[], say: Say): Promise<void> {
  const random = randomFrom(SEED);
  const until = performance.now() + LIMIT_MS;
  await pause(MOST_REST_MS);
  while (deaths.length < KILLS && performance.now() < until) {
    const part = parts[Math.floor(random() * parts.length)] ?? parts[0];
    const [downMs, restMs] = [random() * MOST_DOWN_MS, random() * MOST_REST_MS];
    deaths.push({ part, at: Date.now() });
    await system.kill(part, 'SIGKILL');
    await pause(downMs);
    await system.restart(part);
    if (deaths.length % 10 === 0) say(`${deaths.length} kills; the last was ${part}`);
    await pause(restMs);
  }
}

function findingsOf(deaths: readonly Death[], rounds: readonly RunResult[], topic: Read): BenchFinding[] {
  const count = Object.fromEntries(parts.map((part) => [part, deaths.filter((death) => death.part === part).length]));
  const asked = rounds.reduce(
    (sum, { statuses }) => sum + Object.values(statuses).reduce((all, one) => all + one, 0),
    0,
  );
  const failed = rounds.reduce((sum, result) => sum + notApproved(result), 0);
  const repeats = repeatsByPart(deaths, topic.repeats);
  const perKill = topic.repeats.length / deaths.length;
  return [
    found(
      'kills',
      { seed: SEED, ...count },
      ['kill -9', `${deaths.length} of ${KILLS}: ${parts.map((part) => `${part} ${count[part]}`).join(', ')}`],
      target(`all ${KILLS} in time`, deaths.length >= KILLS),
    ),
    found('payments', { asked, not_approved: failed }, ['payments', `${asked} asked for, ${failed} not approved`]),
    found(
      'topic',
      { records: topic.records, events: topic.events, faults: topic.faults.length },
      [
        'the topic',
        [
          `${topic.events} events in ${topic.records} records, ${topic.faults.length} faults`,
          ...topic.faults.slice(0, 3),
        ].join('  '),
      ],
      promise('complete, gapless, in order', topic.faults.length === 0),
    ),
    found('repeats_per_kill', { all: round(perKill, 1), ...repeats }, [
      'repeats in the topic per kill',
      `${perKill.toFixed(1)}; after a kill of ${Object.entries(repeats)
        .map(([part, count]) => `${part} ${count}`)
        .join(', ')}`,
    ]),
  ];
}

/** A repeat is put down to the last kill before it was published; not of query, which publishes nothing. */
function repeatsByPart(deaths: readonly Death[], repeats: readonly number[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const at of repeats) {
    const cause = deaths.findLast((death) => death.part !== 'query' && death.at <= at)?.part ?? 'none';
    sums[cause] = (sums[cause] ?? 0) + 1;
  }
  return Object.fromEntries(
    parts
      .filter((part) => part !== 'query')
      .map((part) => {
        const kills = deaths.filter((death) => death.part === part).length;
        return [part, kills === 0 ? 0 : round((sums[part] ?? 0) / kills, 1)];
      }),
  );
}

/** mulberry32: the same numbers for the same seed, everywhere. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
