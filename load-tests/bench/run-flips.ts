// Four instances of collection on one order database and one control database, all payments to one bank, and the hand on
// that bank's switch.
import { join } from 'node:path';
import { readMetrics, sumOf } from '../../scripts/system/read-metrics.ts';
import { readCredentials } from '../../scripts/system/run-file.ts';
import type { System } from '../../scripts/system/start-system.ts';
import { openGenerator } from '../generator/open-generator.ts';
import type { Plan, RunResult } from '../generator/plan.ts';
import { type Instance, openInstances } from './collections.ts';
import { type BenchFinding, found, promise, type Say, target } from './findings.ts';
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
        findings: [...underLoad(measured), ...whatItSurvives(measured), await oddAnswers(historyFile)],
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
    for (let nth = 0; nth < CONTESTS; nth++) contests.push(await oppositeFlips(scene));
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

function underLoad({ flipped, load, served }: Measured): BenchFinding[] {
  const took = [...flipped.tookMs].sort((a, b) => a - b);
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? Number.NaN;
  const [p50, p99] = [at(0.5), at(0.99)];
  const late = flipped.stragglersMs.filter((ms) => ms !== null);
  const latest = late.length === 0 ? null : Math.max(...late);
  return [
    found(
      'flips',
      { count: took.length, p50_ms: round(p50), p99_ms: round(p99), most_ms: round(at(1)) },
      [
        `flips, until all ${INSTANCES} apply`,
        `${took.length}: p50 ${Math.round(p50)} ms, p99 ${Math.round(p99)} ms, most ${Math.round(at(1))} ms`,
      ],
      target(`p99 ≤ ${MOST_FLIP_MS} ms`, p99 <= MOST_FLIP_MS),
    ),
    found(
      'laggards',
      flipped.laggards,
      ['acknowledged without', flipped.laggards.length === 0 ? 'nobody' : flipped.laggards.join(', ')],
      target('nobody', flipped.laggards.length === 0),
    ),
    found(
      'latest_charge_ms',
      latest,
      [
        'last charge while shut',
        latest === null ? 'none after an acknowledgement' : `${latest} ms after the acknowledgement`,
      ],
      promise(`≤ ${GRACE_MS} ms`, latest === null || latest <= GRACE_MS),
    ),
    found(
      'served',
      served,
      [
        'approved / refused by',
        served.map(({ name, approved, refused }) => `${name} ${approved}/${refused}`).join(', '),
      ],
      promise(
        'each has done both',
        served.every(({ approved, refused }) => approved > 0 && refused > 0),
      ),
    ),
    found('answers', load.statuses, ['answers to terminals', JSON.stringify(load.statuses)]),
    slowestAnswer([load], DEADLINE_MS),
  ];
}

function whatItSurvives({ passed, contests, ended, survived }: Measured): BenchFinding[] {
  const decided = contests.filter(
    ({ won, conflicts, audited }) => won === 1 && conflicts === 1 && audited.join() === 'applied,conflict',
  ).length;
  return [
    found(
      'passed_while_shut',
      passed,
      ['passed while shut', `${passed.inquiries} inquiries, ${passed.reversals} reversals, ${passed.charges} charges`],
      promise(
        'doubt resolved, void reversed, no charge',
        passed.inquiries > 0 && passed.reversals > 0 && passed.charges === 0,
      ),
    ),
    found(
      'contests',
      { rounds: contests.length, decided },
      ['opposite flips at once', `${decided} of ${contests.length}: one won, one conflict, both audited`],
      promise('all', decided === contests.length),
    ),
    found(
      'ended_first_charge_ms',
      ended.firstChargeMs,
      ['override that ends by itself', `first charge ${ended.firstChargeMs} ms after its end by the database's clock`],
      promise('never before', ended.firstChargeMs >= 0),
    ),
    found(
      'ended_everywhere_ms',
      ended.everyInstanceMs,
      ['every instance sells again', `${ended.everyInstanceMs} ms after its end`],
      target(`≤ ${MOST_FLIP_MS} ms`, ended.everyInstanceMs <= MOST_FLIP_MS),
    ),
    found(
      'survived',
      survived,
      [
        'kill -9 of everything',
        `${survived.shutAfterRestart} of ${INSTANCES} refuse as told before, without a control database; ${survived.openInTheEnd} sell when it is over`,
      ],
      promise(
        'all, and no charge',
        survived.shutAfterRestart === INSTANCES && survived.charges === 0 && survived.openInTheEnd === INSTANCES,
      ),
    ),
  ];
}
