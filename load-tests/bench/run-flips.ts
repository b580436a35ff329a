// Four instances of collection on one order database and one control database, all payments to one bank, and the hand on
// that bank's switch.
import { join } from 'node:path';
import { readMetrics, sumOf } from '../../scripts/system/read-metrics.ts';
import { readCredentials } from '../../scripts/system/run-file.ts';
import type { System } from '../../scripts/system/start-system.ts';
import { openGenerator } from '../generator/open-generator.ts';
import type { Plan, RunResult } from '../generator/plan.ts';
import { type Instance, openInstances } from './collections.ts';
import type { BenchFinding, Say } from './findings.ts';
import {
  type Contest,
  type Ended,
  endsByItself,
  type Flipped,
  type FlipScene,
  flipUnderLoad,
  GRACE_MS,
  oppositeFlips,
  type Passed,
  passesWhileShut,
  type Survived,
  survivesTheDeathOfAll,
} from './flip-steps.ts';
import { checkAll, oddAnswers, onSystemOfItsOwn, routeAllTo, slowestAnswer, terminalsOf, untilQuiet } from './scene.ts';
import { round } from './statistics.ts';
import { openCounter, openSwitch } from './switch.ts';

const BANK = 'bank_a';
const INSTANCES = 4;
const PER_SECOND = 100;
const CONNECTIONS = 100;
const FLIPPING_MS = 60_000;
/** Payments go on until the last flip of the time is over. */
const LOAD_MS = FLIPPING_MS + 4_000;
const DEADLINE_MS = 4_000;
const CONTESTS = 10;
const QUIET_LIMIT_MS = 60_000;
const MOST_FLIP_MS = 1_000;

interface Served {
  readonly name: string;
  readonly approved: number;
  readonly refused: number;
}

interface Measured {
  readonly passed: Passed;
  readonly flipped: Flipped;
  readonly load: RunResult;
  readonly served: readonly Served[];
  readonly contests: readonly Contest[];
  readonly ended: Ended;
  readonly survived: Survived;
}

export async function runFlips(say: Say): Promise<boolean> {
  return onSystemOfItsOwn('flip', say, async (system) => {
    const historyFile = join(system.runFile.data_dir, 'bench.history.jsonl');
    for (const merchant of readCredentials(system.runFile).merchants) await routeAllTo(system.runFile, merchant, BANK);
    const instances = await openInstances(system, INSTANCES);
    try {
      const measured = await measure(system, instances.all, historyFile, say);
      await untilQuiet(system.runFile, QUIET_LIMIT_MS); // what is open after that, the checker reports
      say('checking the invariants …');
      const faces = instances.all.map(({ internalUrl }) => internalUrl);
      return {
        findings: [...findingsOf(measured), await oddAnswers(historyFile)],
        checked: await checkAll(system.runFile, historyFile, faces),
      };
    } finally {
      await instances.stop();
    }
  });
}

async function measure(
  system: System,
  instances: readonly Instance[],
  historyFile: string,
  say: Say,
): Promise<Measured> {
  const gate = openSwitch(system.runFile, BANK);
  const scene: FlipScene = { system, instances, gate, counter: openCounter(system.runFile), bank: BANK };
  const generator = openGenerator();
  try {
    say('inquiries and reversals while the channel is shut …');
    const passed = await passesWhileShut(scene);
    say(`shut and open, for ${FLIPPING_MS / 1_000} s, under ${PER_SECOND} payments/s on ${INSTANCES} instances …`);
    const prepared = await generator.prepare(planOf(system, instances, historyFile));
    const [{ result: load, written }, flipped] = await Promise.all([prepared.go(), flipUnderLoad(scene, FLIPPING_MS)]);
    await written;
    const served = await Promise.all(instances.map(servedBy));
    say('opposite flips at once …');
    const contests: Contest[] = [];
    for (let round = 0; round < CONTESTS; round++) contests.push(await oppositeFlips(scene));
    say('an override that nobody ends …');
    const ended = await endsByItself(scene);
    say('kill -9 of everything; the control database stays dead …');
    const survived = await survivesTheDeathOfAll(scene);
    return { passed, flipped, load, served, contests, ended, survived };
  } finally {
    generator.close();
    await gate.close();
  }
}

function planOf(system: System, [first, ...others]: readonly Instance[], historyFile: string): Plan {
  const terminals = readCredentials(system.runFile).merchants.flatMap(terminalsOf);
  return {
    run: 1,
    target: {
      kind: 'payments',
      url: first?.url ?? '',
      otherUrls: others.map(({ url }) => url),
      terminals,
      deadlineMs: DEADLINE_MS,
    },
    arrival: { kind: 'open', perSecond: PER_SECOND, maxConnections: CONNECTIONS },
    warmupMs: 0,
    durationMs: LOAD_MS,
    prepare: (PER_SECOND * LOAD_MS) / 1_000,
    historyFile,
  };
}

async function servedBy({ name, internalUrl }: Instance): Promise<Served> {
  const samples = await readMetrics(internalUrl);
  const answered = (status: string) =>
    sumOf(samples, 'http_server_request_duration_seconds_count', { route: '/v1/payments', status }) ?? 0;
  return { name, approved: answered('201'), refused: answered('503') };
}

function findingsOf({ passed, flipped, load, served, contests, ended, survived }: Measured): BenchFinding[] {
  const took = [...flipped.tookMs].sort((a, b) => a - b);
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? Number.NaN;
  const [p50, p99] = [at(0.5), at(0.99)];
  const late = flipped.stragglersMs.filter((ms) => ms !== null);
  const latest = late.length === 0 ? null : Math.max(...late);
  const decided = contests.filter(
    ({ won, conflicts, audited }) => won === 1 && conflicts === 1 && audited.join() === 'applied,conflict',
  ).length;
  return [
    {
      key: 'flips',
      value: { count: took.length, p50_ms: round(p50), p99_ms: round(p99), most_ms: round(at(1)) },
      what: `flips, until all ${INSTANCES} apply`,
      shown: `${took.length}: p50 ${Math.round(p50)} ms, p99 ${Math.round(p99)} ms, most ${Math.round(at(1))} ms`,
      asked: { kind: 'target', text: `p99 ≤ ${MOST_FLIP_MS} ms`, met: p99 <= MOST_FLIP_MS },
    },
    {
      key: 'laggards',
      value: flipped.laggards,
      what: 'acknowledged without',
      shown: flipped.laggards.length === 0 ? 'nobody' : flipped.laggards.join(', '),
      asked: { kind: 'target', text: 'nobody', met: flipped.laggards.length === 0 },
    },
    {
      key: 'latest_charge_ms',
      value: latest,
      what: 'last charge while shut',
      shown: latest === null ? 'none after an acknowledgement' : `${latest} ms after the acknowledgement`,
      asked: { kind: 'promise', text: `≤ ${GRACE_MS} ms`, met: latest === null || latest <= GRACE_MS },
    },
    {
      key: 'served',
      value: served,
      what: 'approved / refused by',
      shown: served.map(({ name, approved, refused }) => `${name} ${approved}/${refused}`).join(', '),
      asked: {
        kind: 'promise',
        text: 'each has done both',
        met: served.every(({ approved, refused }) => approved > 0 && refused > 0),
      },
    },
    {
      key: 'answers',
      value: load.statuses,
      what: 'answers to terminals',
      shown: JSON.stringify(load.statuses),
    },
    slowestAnswer([load], DEADLINE_MS),
    {
      key: 'passed_while_shut',
      value: passed,
      what: 'passed while shut',
      shown: `${passed.inquiries} inquiries, ${passed.reversals} reversals, ${passed.charges} charges`,
      asked: {
        kind: 'promise',
        text: 'doubt resolved, void reversed, no charge',
        met: passed.inquiries > 0 && passed.reversals > 0 && passed.charges === 0,
      },
    },
    {
      key: 'contests',
      value: { rounds: contests.length, decided },
      what: 'opposite flips at once',
      shown: `${decided} of ${contests.length}: one won, one conflict, both audited`,
      asked: { kind: 'promise', text: 'all', met: decided === contests.length },
    },
    {
      key: 'ended_first_charge_ms',
      value: ended.firstChargeMs,
      what: 'override that ends by itself',
      shown: `first charge ${ended.firstChargeMs} ms after its end by the database's clock`,
      asked: { kind: 'promise', text: 'never before', met: ended.firstChargeMs >= 0 },
    },
    {
      key: 'ended_everywhere_ms',
      value: ended.everyInstanceMs,
      what: 'every instance sells again',
      shown: `${ended.everyInstanceMs} ms after its end`,
      asked: { kind: 'target', text: `≤ ${MOST_FLIP_MS} ms`, met: ended.everyInstanceMs <= MOST_FLIP_MS },
    },
    {
      key: 'survived',
      value: survived,
      what: 'kill -9 of everything',
      shown: `${survived.shutAfterRestart} of ${INSTANCES} refuse as told before, without a control database; ${survived.openInTheEnd} sell when it is over`,
      asked: {
        kind: 'promise',
        text: 'all, and no charge',
        met: survived.shutAfterRestart === INSTANCES && survived.charges === 0 && survived.openInTheEnd === INSTANCES,
      },
    },
  ];
}
