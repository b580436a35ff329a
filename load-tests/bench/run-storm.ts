// A minute in which a bank answers too late for everybody, and every terminal sends its payment again and again. The
// breaker and the way in have to bound what that does to us and to the bank; then the bank is well and the terminals are
// patient again, and nobody touches anything.
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type RunFile, readCredentials, serviceOf } from '../../scripts/system/run-file.ts';
import { openGenerator } from '../generator/open-generator.ts';
import type { Impatience, Plan, RunResult } from '../generator/plan.ts';
import { type BenchFinding, found, promise, type Say, target } from './findings.ts';
import { type GaugeWatch, watchGauges } from './gauges.ts';
import {
  checkAll,
  heal,
  oddAnswers,
  onSystemOfItsOwn,
  receivedBy,
  routeAllTo,
  slowDown,
  slowestAnswer,
  terminalsOf,
  untilQuiet,
} from './scene.ts';
import { round } from './statistics.ts';

const BANK = 'bank_c';
const USUAL_PER_SECOND = 100;
/** Ten sendings of each payment: ten times the usual load. */
const impatience: Impatience = { tries: 10, pauseMs: 200 };
/** The shortest that a terminal may ask for. */
const DEADLINE_MS = 2_000;
/**
 * Later than any of them waits, so the bank's books fill with charges that nobody heard of. First so little that its answers
 * still come, late; then so much that all we see of it is time-outs.
 */
const LATE_MS = 3_000;
const VERY_LATE_MS = 8_000;
/** What a storm holds at once: ten times the usual load, each for its whole deadline. */
const CONNECTIONS = USUAL_PER_SECOND * impatience.tries * (DEADLINE_MS / 1_000);
const USUAL_CONNECTIONS = 300;

const BEFORE_MS = 12_000;
const STORM_MS = 60_000;
const VERY_LATE_AFTER_MS = 20_000;
const AFTER_MS = 45_000;
const QUIET_LIMIT_MS = 90_000;

const BACK_SHARE = 0.9;
const BACK_WITHIN_S = 30;
/** Goodput is back when it stays so for this long. */
const STAYS_S = 5;

/** As ARCHITECTURE.md states them, "Limits". */
const MOST_MEGABYTES = 250;
const queues = [
  { gauge: 'ballast_inbound_in_flight', what: 'requests being served', limit: 2_000 },
  { gauge: 'ballast_commit_waiting_rows', what: 'rows waiting for a commit', limit: 5_000 },
] as const;
const MEMORY = 'process_resident_memory_bytes';
const HEAP = 'nodejs_heap_size_used_bytes';

interface Storm {
  readonly before: RunResult;
  readonly during: RunResult;
  readonly after: RunResult;
  /** Charges that reached the bank in the storm. */
  readonly charges: number;
  readonly gauges: GaugeWatch;
  readonly samePid: boolean;
  readonly quietAfterMs: number | null;
}

export async function runStorm(say: Say): Promise<boolean> {
  return onSystemOfItsOwn('storm', say, async (system) => {
    const run = system.runFile;
    const historyFile = join(run.data_dir, 'bench.history.jsonl');
    for (const merchant of readCredentials(run).merchants) await routeAllTo(run, merchant, BANK);
    const storm = await measure(run, historyFile, say, () => serviceOf(system.runFile, 'collection').pid);
    say('checking the invariants …');
    return {
      findings: [...goodputOf(storm), ...boundsOf(storm), await oddAnswers(historyFile)],
      checked: await checkAll(run, historyFile),
    };
  });
}

async function measure(run: RunFile, historyFile: string, say: Say, pid: () => number): Promise<Storm> {
  const { url, internal_url } = serviceOf(run, 'collection');
  const [usual, stormy] = [openGenerator(), openGenerator()];
  const gauges = watchGauges(internal_url, [MEMORY, HEAP, ...queues.map(({ gauge }) => gauge)]);
  const pidBefore = pid();
  const plan = (number: number, durationMs: number): Plan => ({
    run: number,
    target: {
      kind: 'payments',
      url,
      terminals: readCredentials(run).merchants.flatMap(terminalsOf),
      deadlineMs: DEADLINE_MS,
    },
    arrival: { kind: 'open', perSecond: USUAL_PER_SECOND, maxConnections: USUAL_CONNECTIONS },
    warmupMs: 0,
    durationMs,
    prepare: (USUAL_PER_SECOND * durationMs) / 1_000,
    historyFile,
  });
  const send = async (prepared: Awaited<ReturnType<typeof usual.prepare>>) => {
    const { result, written } = await prepared.go();
    await written;
    return result;
  };
  try {
    say(`the usual load, ${USUAL_PER_SECOND}/s, for ${BEFORE_MS / 1_000} s …`);
    const before = await send(await usual.prepare(plan(1, BEFORE_MS)));
    const patient = await usual.prepare(plan(3, AFTER_MS));
    const storm = await stormy.prepare({
      ...plan(2, STORM_MS),
      arrival: { kind: 'open', perSecond: USUAL_PER_SECOND, maxConnections: CONNECTIONS },
      impatience,
    });
    say(
      `the bank is ${LATE_MS / 1_000} s late, then ${VERY_LATE_MS / 1_000} s, and terminals send up to ${impatience.tries} times, for ${STORM_MS / 1_000} s …`,
    );
    const chargesBefore = (await receivedBy(run, BANK)).charge;
    await slowDown(run, BANK, LATE_MS);
    const storming = send(storm);
    await pause(VERY_LATE_AFTER_MS);
    await slowDown(run, BANK, VERY_LATE_MS);
    await pause(STORM_MS - VERY_LATE_AFTER_MS);
    await heal(run, BANK);
    const charges = (await receivedBy(run, BANK)).charge - chargesBefore;
    say('both are gone; the usual load …');
    const [during, after] = await Promise.all([storming, send(patient)]);
    say('waiting until everything is decided …');
    const quietAfterMs = await untilQuiet(run, QUIET_LIMIT_MS);
    return { before, during, after, charges, gauges, samePid: pid() === pidBefore, quietAfterMs };
  } finally {
    await gauges.close();
    usual.close();
    stormy.close();
  }
}

function goodputOf({ before, during, after, charges }: Storm): BenchFinding[] {
  // The first second connects; the last one may be cut short.
  const whole = before.bySecond.slice(1, -1);
  const usual = whole.reduce((sum, count) => sum + count, 0) / whole.length;
  const back = backAfter(after.bySecond, usual * BACK_SHARE);
  const sent = (result: RunResult) => Object.values(result.statuses).reduce((sum, count) => sum + count, 0);
  const offered = sent(during) / (STORM_MS / 1_000);
  return [
    found('usual', { per_second: round(usual, 1), p99_ms: round(before.latency.p99, 1) }, [
      'before',
      `${usual.toFixed(1)} payments/s approved, p99 ${before.latency.p99.toFixed(1)} ms`,
    ]),
    found(
      'storm',
      {
        requests_per_second: round(offered),
        approved_per_second: round(during.perSecond, 1),
        answers: during.statuses,
      },
      [
        'in the storm',
        `${Math.round(offered)} requests/s, ${during.perSecond.toFixed(1)} approved/s, answers ${JSON.stringify(during.statuses)}`,
      ],
    ),
    found(
      'charges_in_storm_per_second',
      round(charges / (STORM_MS / 1_000), 1),
      ['charges the bank had to bear', `${(charges / (STORM_MS / 1_000)).toFixed(1)}/s; usual are ${USUAL_PER_SECOND}`],
      promise('no more than usual', charges <= (USUAL_PER_SECOND * STORM_MS) / 1_000),
    ),
    slowestAnswer([during], DEADLINE_MS),
    found(
      'back_after_s',
      back,
      [
        `${BACK_SHARE * 100} % of the goodput is back`,
        `${back === null ? `never within ${AFTER_MS / 1_000} s` : `after ${back} s`}; by second ${after.bySecond.join(' ')}`,
      ],
      target(`≤ ${BACK_WITHIN_S} s`, back !== null && back <= BACK_WITHIN_S),
    ),
  ];
}

function boundsOf({ gauges, samePid, quietAfterMs }: Storm): BenchFinding[] {
  const megabytesOf = (name: string) => Math.round((gauges.most(name) ?? Number.NaN) / 1e6);
  const megabytes = megabytesOf(MEMORY);
  return [
    found(
      'same_process',
      samePid,
      ['collection', samePid ? 'the same process throughout' : 'was restarted'],
      promise('no restart', samePid),
    ),
    found(
      'memory_mb',
      { resident: megabytes, heap: megabytesOf(HEAP) },
      ['its memory, at most', `${megabytes} MB, heap ${megabytesOf(HEAP)} MB`],
      target(`≤ ${MOST_MEGABYTES} MB`, megabytes <= MOST_MEGABYTES),
    ),
    ...queues.map(({ gauge, what, limit }) => {
      const most = gauges.most(gauge);
      return found(
        gauge,
        most,
        [`${what}, at most`, String(most)],
        promise(`≤ ${limit}`, most !== undefined && most <= limit),
      );
    }),
    found('looks', gauges.looks, [
      'looks at its metrics',
      `${gauges.looks.made}, ${gauges.looks.unanswered} unanswered`,
    ]),
    found(
      'decided_after_s',
      quietAfterMs === null ? null : round(quietAfterMs / 1_000, 1),
      [
        'everything is decided',
        quietAfterMs === null ? 'never' : `${(quietAfterMs / 1_000).toFixed(1)} s after the last payment`,
      ],
      promise(`within ${QUIET_LIMIT_MS / 1_000} s`, quietAfterMs !== null),
    ),
  ];
}

/** Seconds until the first from which on the mean of `STAYS_S` seconds is at least `least`; null: there is none. */
function backAfter(bySecond: readonly number[], least: number): number | null {
  for (let second = 0; second + STAYS_S <= bySecond.length; second++) {
    const stretch = bySecond.slice(second, second + STAYS_S);
    const mean = stretch.reduce((sum, count) => sum + count, 0) / STAYS_S;
    if (mean >= least && (stretch[0] ?? 0) >= least) return second;
  }
  return null;
}
