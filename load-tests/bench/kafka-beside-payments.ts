// What payments feel of forwarding and its broker on the same two cores: neighbouring runs with them and without, in turn
// first, at two open rates and at saturation. Query does not run, so that nothing else makes the difference.

import type { RunResult } from '../generator/plan.ts';
import { type BenchFinding, found, type Say, target } from './findings.ts';
import { type KafkaScene, notApproved, pay, untilTopicIsUpToDate } from './kafka-scene.ts';
import { round, spreadOf } from './statistics.ts';
import { coresText, type Used, watchUsage } from './usage.ts';

const PAIRS = 5;
/** At saturation fewer are enough: what is asked of it is far from what a pair differs from the next. */
const SATURATION_PAIRS = 3;
/** Before each side alike: the broker and forwarding have just been started, and run uncompiled code for their first seconds. */
const WARM_AGAIN_MS = 8_000;
const WARMUP_MS = 500;
const RUN_MS = 3_000;
const openRates = { '300': 300, '1000': 1_000 } as const;
type Rate = keyof typeof openRates;
const CONNECTIONS_AT_MOST = 256;
const CONNECTIONS_AT_SATURATION = 64;

const MOST_RATIO = 1.5;
const MOST_ABOVE_MS = 10;
const LEAST_SHARE = 0.65;

interface Block {
  readonly open: Readonly<Record<Rate, RunResult>>;
  /** Null: not taken in this block. */
  readonly saturation: { readonly paid: RunResult; readonly used: Used } | null;
}
interface Pair {
  readonly beside: Block;
  readonly alone: Block;
}

export async function payBeside(scene: KafkaScene, say: Say): Promise<BenchFinding[]> {
  const pairs: Pair[] = [];
  let forwards = true;
  const block = async (wanted: boolean, saturated: boolean): Promise<Block> => {
    if (wanted !== forwards) await (wanted ? start(scene) : end(scene));
    forwards = wanted;
    return runBlock(scene, saturated);
  };
  for (let number = 1; number <= PAIRS; number++) {
    const first = number % 2 === 1;
    const saturated = number <= SATURATION_PAIRS;
    const one = await block(first, saturated);
    const other = await block(!first, saturated);
    const pair = first ? { beside: one, alone: other } : { beside: other, alone: one };
    pairs.push(pair);
    const p99 = (rate: Rate) =>
      `${pair.beside.open[rate].latency.p99.toFixed(1)} against ${pair.alone.open[rate].latency.p99.toFixed(1)} ms`;
    say(
      `pair ${number} of ${PAIRS}, p99 with forwarding and without: ${p99('300')} at 300/s, ${p99('1000')} at 1,000/s`,
    );
  }
  if (!forwards) await start(scene);
  return [...openRate('300', pairs), ...openRate('1000', pairs), ...saturation(pairs)];
}

async function end({ system, kafka }: KafkaScene): Promise<void> {
  await system.kill('forwarding', 'SIGTERM');
  await kafka.stop();
}

async function start(scene: KafkaScene): Promise<void> {
  await scene.system.restart('kafka');
  await scene.system.restart('forwarding');
  await untilTopicIsUpToDate(scene);
}

async function runBlock(scene: KafkaScene, saturated: boolean): Promise<Block> {
  const at = (rate: Rate, warmupMs = WARMUP_MS) =>
    pay(scene, { kind: 'open', perSecond: openRates[rate], maxConnections: CONNECTIONS_AT_MOST }, [warmupMs, RUN_MS]);
  await at('1000', WARM_AGAIN_MS);
  const open = { '300': await at('300'), '1000': await at('1000') };
  return { open, saturation: saturated ? await runSaturated(scene) : null };
}

async function runSaturated(scene: KafkaScene) {
  const { services, postgres } = scene.system.runFile;
  const usage = watchUsage(
    { collection: services.collection?.pid, forwarding: services.forwarding?.pid, kafka: scene.kafka.pid(0) },
    { orders: postgres.orders.pid },
  );
  const paid = await pay(scene, { kind: 'closed', connections: CONNECTIONS_AT_SATURATION }, [WARMUP_MS, RUN_MS]);
  return { paid, used: usage.end() };
}

function openRate(name: Rate, pairs: readonly Pair[]): BenchFinding[] {
  const p99 = (side: keyof Pair) => pairs.map((pair) => pair[side].open[name].latency.p99);
  const [beside, alone] = [p99('beside'), p99('alone')];
  const ratio = spreadOf(beside.map((value, at) => value / (alone[at] ?? Number.NaN))).median;
  const above = spreadOf(beside.map((value, at) => value - (alone[at] ?? Number.NaN))).median;
  const failed = (side: keyof Pair) => pairs.reduce((sum, pair) => sum + notApproved(pair[side].open[name]), 0);
  const reached = Math.min(...pairs.map(({ alone }) => alone.open[name].perSecond));
  const list = (values: readonly number[]) => values.map((value) => value.toFixed(1)).join(', ');
  return [
    found(
      `p99_beside_${name}_ms`,
      beside.map((value) => round(value, 1)),
      [`p99 at ${name}/s with forwarding`, `${list(beside)} ms`],
    ),
    found(
      `p99_alone_${name}_ms`,
      alone.map((value) => round(value, 1)),
      [`p99 at ${name}/s without`, `${list(alone)} ms; ${Math.round(reached)}/s were reached at least`],
    ),
    found(
      `p99_moves_${name}`,
      { ratio: round(ratio, 2), above_ms: round(above, 1) },
      [`and moves at ${name}/s by`, `${ratio.toFixed(2)} x, ${above.toFixed(1)} ms (medians of ${pairs.length} pairs)`],
      target(`≤ ${MOST_RATIO} x or ${MOST_ABOVE_MS} ms`, ratio <= MOST_RATIO || above <= MOST_ABOVE_MS),
    ),
    found(
      `not_approved_${name}`,
      { beside: failed('beside'), alone: failed('alone') },
      [`not approved at ${name}/s`, `${failed('beside')} with, ${failed('alone')} without`],
      target('no more than without', failed('beside') <= failed('alone')),
    ),
  ];
}

function saturation(pairs: readonly Pair[]): BenchFinding[] {
  const taken = pairs.flatMap(({ beside, alone }) =>
    beside.saturation === null || alone.saturation === null
      ? []
      : [{ beside: beside.saturation, alone: alone.saturation }],
  );
  const shares = spreadOf(taken.map(({ beside, alone }) => beside.paid.perSecond / alone.paid.perSecond));
  const rate = (side: keyof Pair) => Math.round(spreadOf(taken.map((pair) => pair[side].paid.perSecond)).median);
  const cores = taken.at(-1)?.beside.used.cores ?? {};
  return [
    found(
      'saturation_share',
      round(shares.median, 2),
      [
        'at saturation',
        `${shares.median.toFixed(2)} of what is without (${shares.least.toFixed(2)} to ${shares.most.toFixed(2)}): ${rate('beside')} and ${rate('alone')} payments/s`,
      ],
      target(`≥ ${LEAST_SHARE}`, shares.median >= LEAST_SHARE),
    ),
    found('saturation_cores', cores, ['cores then, with forwarding', coresText(cores)]),
  ];
}
