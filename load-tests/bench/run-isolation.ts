// Two banks side by side, each with half of an open 300/s: one hangs at 100 % in every other run, and all that is looked at
// is the other. Runs are neighbours in pairs, ill and well in turn first, because the machine drifts.
import { join } from 'node:path';
import { channelTarget, openControlStore } from '@ballast/control';
import { signInToDemo } from '../../scripts/system/demo-operators.ts';
import { type RunFile, readCredentials, serviceOf } from '../../scripts/system/run-file.ts';
import { type Generator, openGenerator } from '../generator/open-generator.ts';
import type { Plan, RunResult } from '../generator/plan.ts';
import { type BenchFinding, found, promise, type Say, target } from './findings.ts';
import {
  checkAll,
  heal,
  makeIll,
  oddAnswers,
  onSystemOfItsOwn,
  type Received,
  receivedBy,
  routeAllTo,
  slowestAnswer,
  terminalsOf,
  untilQuiet,
} from './scene.ts';
import { round, spreadOf } from './statistics.ts';

const PAIRS = 5;
/** Both banks together: the 300/s that the issue allows. */
const PER_SECOND_EACH = 150;
const WARMUP_MS = 2_000;
const RUN_MS = 7_000;
/** Shorter than a run, so that calls time out in it, the breaker sees them, and what follows is refused. */
const DEADLINE_MS = 4_000;
/** Enough for every payment of the ill bank to hang until its deadline. */
const ILL_CONNECTIONS = (PER_SECOND_EACH * DEADLINE_MS) / 1_000 + 50;
const HEALTHY_CONNECTIONS = 200;
const QUIET_LIMIT_MS = 40_000;

const HEALTHY = 'bank_c';
const ILL = 'bank_b';

const MOST_MOVE_MS = 10;
const MOST_MOVE_SHARE = 0.1;
const MOST_AMPLIFICATION = 1.1;

interface Run {
  readonly healthy: RunResult;
  readonly ill: RunResult;
  /** Requests that reached the bank that may be ill: while payments came, and until everything was decided. */
  readonly askedMeanwhile: Received;
  readonly askedInAll: Received;
}

interface Pair {
  readonly well: Run;
  readonly ill: Run;
}

export async function runIsolation(say: Say): Promise<boolean> {
  return onSystemOfItsOwn('isolation', say, async ({ runFile: run }) => {
    const generators = [openGenerator(), openGenerator()] as const;
    const historyFile = join(run.data_dir, 'bench.history.jsonl');
    try {
      say('a run that is not looked at, until the processes are warm …');
      await runOnce(run, generators, 'well', { number: 0, historyFile });
      const pairs: Pair[] = [];
      for (let number = 1; number <= PAIRS; number++) {
        const pair = await runPair(run, generators, number, historyFile);
        pairs.push(pair);
        const [ill, well] = [pair.ill.healthy, pair.well.healthy];
        refuseToJudge(ill, well);
        say(
          `pair ${number} of ${PAIRS}: p99 of ${HEALTHY} ${round(ill.latency.p99, 1)} ms while ${ILL} hangs, ` +
            `${round(well.latency.p99, 1)} ms while it is well; not approved ${failedOf(ill)} and ${failedOf(well)}`,
        );
      }
      say('checking the invariants …');
      return {
        findings: [...findingsOf(pairs), await oddAnswers(historyFile)],
        checked: await checkAll(run, historyFile),
      };
    } finally {
      for (const generator of generators) generator.close();
    }
  });
}

/** Without a single approval there is no latency to compare. */
function refuseToJudge(...results: readonly RunResult[]): void {
  for (const { answered, statuses } of results)
    if (answered === 0)
      throw new Error(
        `the healthy bank approved nothing (${JSON.stringify(statuses)}): this machine is too busy for a measurement`,
      );
}

async function runPair(
  run: RunFile,
  generators: readonly [Generator, Generator],
  number: number,
  historyFile: string,
): Promise<Pair> {
  const one = (state: 'ill' | 'well') => runOnce(run, generators, state, { number, historyFile });
  if (number % 2 === 1) {
    const well = await one('well');
    return { well, ill: await one('ill') };
  }
  const ill = await one('ill');
  return { ill, well: await one('well') };
}

async function runOnce(
  run: RunFile,
  [forHealthy, forIll]: readonly [Generator, Generator],
  state: 'ill' | 'well',
  { number, historyFile }: { number: number; historyFile: string },
): Promise<Run> {
  const [first, second] = readCredentials(run).merchants;
  if (first === undefined || second === undefined) throw new Error('the demo has two merchants');
  await routeAllTo(run, first, HEALTHY);
  await routeAllTo(run, second, ILL);
  const { url } = serviceOf(run, 'collection');
  const plan = (merchant: typeof first, at: number): Plan => ({
    run: number * 4 + (state === 'ill' ? 0 : 2) + at,
    target: { kind: 'payments', url, terminals: terminalsOf(merchant), deadlineMs: DEADLINE_MS },
    arrival: {
      kind: 'open',
      perSecond: PER_SECOND_EACH,
      maxConnections: at === 0 ? HEALTHY_CONNECTIONS : ILL_CONNECTIONS,
    },
    warmupMs: WARMUP_MS,
    durationMs: RUN_MS,
    prepare: (PER_SECOND_EACH * (WARMUP_MS + RUN_MS)) / 1_000,
    historyFile,
  });
  const prepared = await Promise.all([forHealthy.prepare(plan(first, 0)), forIll.prepare(plan(second, 1))]);
  const before = await receivedBy(run, ILL);
  if (state === 'ill') await makeIll(run, ILL, { behaviour: 'timeout_before_accepting' });
  const [healthy, ill] = await Promise.all(prepared.map(({ go }) => go()));
  if (healthy === undefined || ill === undefined) throw new Error('BUG: two generators, two results');
  await Promise.all([healthy.written, ill.written]);
  const meanwhile = await receivedBy(run, ILL);
  if (state === 'ill') await comeBack(run);
  const askedInAll = less(await receivedBy(run, ILL), before);
  return { healthy: healthy.result, ill: ill.result, askedMeanwhile: less(meanwhile, before), askedInAll };
}

/** The bank heals, its breakers are told so, and everything in doubt is decided: the next run starts from nothing. */
async function comeBack(run: RunFile): Promise<void> {
  await heal(run, ILL);
  const store = openControlStore({ url: run.databases.control });
  try {
    const by = await signInToDemo(store, run, 'bench');
    const seen = await store.versionOf(channelTarget(ILL));
    await store.nudge(ILL, 'close_now', { by, reason: 'the bank is well again', seen });
  } finally {
    await store.close();
  }
  await untilQuiet(run, QUIET_LIMIT_MS); // what is open after that, the checker reports
}

function findingsOf(pairs: readonly Pair[]): BenchFinding[] {
  const p99 = (state: keyof Pair) => pairs.map((pair) => pair[state].healthy.latency.p99);
  const well = spreadOf(p99('well')).median;
  const moves = spreadOf(pairs.map((pair) => pair.ill.healthy.latency.p99 - pair.well.healthy.latency.p99));
  const mayMove = Math.max(MOST_MOVE_MS, well * MOST_MOVE_SHARE);
  const failed = (state: keyof Pair) => sum(pairs.map((pair) => failedOf(pair[state].healthy)));
  const everyRun = pairs.flatMap(({ ill, well: healthy }) => [ill, healthy]);
  const sent = sum(pairs.map(({ ill }) => answersOf(ill.ill)));
  const meanwhile = addUp(pairs.map(({ ill }) => ill.askedMeanwhile));
  const amplification = sum(Object.values(meanwhile)) / sent;
  const inAll = addUp(pairs.map(({ ill }) => ill.askedInAll));
  const perPayment = (asked: Readonly<Record<string, number>>) =>
    ['charge', 'inquiry', 'reversal'].map((kind) => `${kind} ${((asked[kind] ?? 0) / sent).toFixed(2)}`).join(', ');
  const statuses = (state: keyof Pair) => JSON.stringify(addUp(pairs.map((pair) => pair[state].ill.statuses)));
  const list = (values: readonly number[]) => values.map((value) => value.toFixed(1)).join(', ');
  return [
    found('load', { per_second: 2 * PER_SECOND_EACH, pairs: PAIRS, seconds: RUN_MS / 1_000 }, [
      'load',
      `open, ${PER_SECOND_EACH}/s to each of two banks, ${PAIRS} pairs of ${RUN_MS / 1_000} s, deadline ${DEADLINE_MS} ms`,
    ]),
    found('p99_ill_ms', p99('ill'), ['p99, the other bank hangs', `${list(p99('ill'))} ms`]),
    found('p99_well_ms', p99('well'), ['p99, the other bank is well', `${list(p99('well'))} ms`]),
    found(
      'p99_moves_ms',
      round(moves.median, 2),
      [
        'p99 moves by',
        `${moves.median.toFixed(1)} ms (${moves.least.toFixed(1)} to ${moves.most.toFixed(1)}), median of pairs`,
      ],
      target(`≤ ${mayMove.toFixed(1)} ms`, moves.median <= mayMove),
    ),
    found(
      'not_approved',
      { ill: failed('ill'), well: failed('well') },
      ['payments not approved', `${failed('ill')} while it hangs, ${failed('well')} while it is well`],
      target('no more than while it is well', failed('ill') <= failed('well')),
    ),
    found(
      'amplification',
      round(amplification, 3),
      [
        'requests to it while it hangs',
        `${amplification.toFixed(2)} per payment meant for it (${perPayment(meanwhile)})`,
      ],
      promise(`≤ ${MOST_AMPLIFICATION}`, amplification <= MOST_AMPLIFICATION),
    ),
    found('asked_in_all', inAll, ['and until all is decided', `${perPayment(inAll)} per payment`]),
    slowestAnswer(
      everyRun.flatMap((one) => [one.healthy, one.ill]),
      DEADLINE_MS,
    ),
    found('answers_of_the_ill_bank', addUp(pairs.map(({ ill }) => ill.ill.statuses)), [
      'its own payments were told',
      `${statuses('ill')} while it hangs, ${statuses('well')} while it is well`,
    ]),
  ];
}

function failedOf(result: RunResult): number {
  return answersOf(result) - (result.statuses['201'] ?? 0);
}

function answersOf({ statuses }: RunResult): number {
  return sum(Object.values(statuses));
}

function addUp(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const added: Record<string, number> = {};
  for (const one of all) for (const [key, value] of Object.entries(one)) added[key] = (added[key] ?? 0) + value;
  return added;
}

function less(after: Received, before: Received): Received {
  const { charge, inquiry, reversal, refund } = after;
  return {
    charge: charge - before.charge,
    inquiry: inquiry - before.inquiry,
    reversal: reversal - before.reversal,
    refund: refund - before.refund,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
