// The numbers of a payment benchmark, with units and targets, for people and as one object.
import { printChecked } from '../checker/print.ts';
import { CONNECTIONS, type Measured, OPEN_RATE } from './run-payments.ts';
import { round, type Spread, spreadOf } from './statistics.ts';

export interface Targets {
  readonly ratio: number;
  readonly ratioAim: number;
}

const P99_BEYOND_BANK_MS = 10;
const COLLECTION_MEGABYTES = 250;
const LAG_SECONDS = 30;

/** Prints the report; true: every invariant holds. Targets are reported, a busy machine may miss them. */
export function report(
  name: string,
  measured: Measured,
  targets: Targets,
  json: boolean,
  say: (line: string) => void,
): boolean {
  const figures = figuresOf(measured);
  const { ratio, memory, open } = figures;
  const verdict = (met: boolean) => (met ? 'met' : 'MISSED');
  say('');
  say(`${name}: ${CONNECTIONS} connections, closed loop, ${measured.pairs.length} interleaved pairs; median (range)`);
  say(`  payments/s             ${range(figures.payments)}`);
  say(
    `  ${measured.baseline.name.padEnd(21)}  ${range(figures.baseline)} /s, same two transactions, TCP, one statement each`,
  );
  if (!measured.baseline.pgbench)
    say('                         pgbench is missing here: Node stands in for it, which flatters the ratio');
  say(
    `  ratio                  ${range(ratio, 2)}   target ≥ ${targets.ratio} (aim ${targets.ratioAim}): ${verdict(ratio.median >= targets.ratio)}`,
  );
  say(`  latency                p50 ${range(figures.p50, 1)} ms, p99 ${range(figures.p99, 1)} ms`);
  say(`  commits/s              ${range(figures.commits)}, ${range(figures.rowsPerCommit, 1)} rows each`);
  say(`  answers                ${JSON.stringify(figures.statuses)}`);
  say(`  cores                  ${listOf(figures.cores, 2)}`);
  say(`  memory, peak           ${listOf(memory, 0)} MB`);
  const collection = memory['collection'];
  if (collection !== undefined)
    say(`  collection             target ≤ ${COLLECTION_MEGABYTES} MB: ${verdict(collection <= COLLECTION_MEGABYTES)}`);
  say(
    `  open rate ${OPEN_RATE}/s        p50 ${range(open.p50, 1)} ms, p99 ${range(open.p99, 1)} ms; answers ${JSON.stringify(open.statuses)}`,
  );
  say(`  the bank alone         p50 ${range(open.bankP50, 1)} ms, p99 ${range(open.bankP99, 1)} ms`);
  say(
    `  p99 beyond the bank's  ${range(open.beyondBank, 1)} ms   target ≤ ${P99_BEYOND_BANK_MS} ms: ${verdict(open.beyondBank.median <= P99_BEYOND_BANK_MS)}`,
  );
  if (figures.lag !== null) {
    const { worst, clearedAfter } = figures.lag;
    say(`  read model             behind by at most ${worst} s during the runs`);
    say(
      `  lag below 1 s          ${clearedAfter === null ? 'never' : `after ${clearedAfter} s`}   target ≤ ${LAG_SECONDS} s: ${verdict(clearedAfter !== null)}`,
    );
  }
  say(
    `  durability             ${Object.entries(measured.durability)
      .map(([key, value]) => `${key}=${value}`)
      .join(' ')}`,
  );
  say('');
  const holds = printChecked(measured.checked, say);
  if (json) {
    const invariants = measured.checked.results.map(({ id, evaluated, violations }) => ({
      id,
      evaluated,
      violations: violations.length,
    }));
    say(
      JSON.stringify({
        bench: name,
        ...figures,
        baseline_name: measured.baseline.name,
        targets,
        durability: measured.durability,
        invariants,
        holds,
      }),
    );
  }
  return holds;
}

function figuresOf({ pairs, open }: Measured) {
  const over = (value: (pair: Measured['pairs'][number]) => number) => spreadOf(pairs.map(value));
  const names = [...new Set(pairs.flatMap(({ observed }) => Object.keys(observed.peakMegabytes)))];
  const memory = Object.fromEntries(
    names.map((name) => [name, round(Math.max(...pairs.map(({ observed }) => observed.peakMegabytes[name] ?? 0)))]),
  );
  const users = [...new Set(pairs.flatMap(({ observed }) => Object.keys(observed.cores)))];
  const cores = Object.fromEntries(
    users.map((name) => [name, round(over(({ observed }) => observed.cores[name] ?? 0).median, 2)]),
  );
  const overOpen = (value: (pair: Measured['open'][number]) => number) => spreadOf(open.map(value));
  const lags = pairs.flatMap(({ worstLagSeconds }) => (worstLagSeconds === null ? [] : [worstLagSeconds]));
  const cleared = pairs.map(({ lagClearedAfterSeconds }) => lagClearedAfterSeconds);
  return {
    payments: over(({ payments }) => payments.perSecond),
    baseline: over((pair) => pair.baseline),
    ratio: over(({ payments, baseline }) => payments.perSecond / baseline),
    p50: over(({ payments }) => payments.latency.p50),
    p99: over(({ payments }) => payments.latency.p99),
    commits: over(({ observed }) => observed.commits / observed.seconds),
    // Each payment is a row of commit 1 and a row of commit 2.
    rowsPerCommit: over(({ payments, observed }) => (2 * payments.answeredInAll) / observed.commits),
    statuses: sumOf(pairs.map(({ payments }) => payments.statuses)),
    cores,
    memory,
    open: {
      p50: overOpen(({ payments }) => payments.latency.p50),
      p99: overOpen(({ payments }) => payments.latency.p99),
      bankP50: overOpen(({ bank }) => bank.latency.p50),
      bankP99: overOpen(({ bank }) => bank.latency.p99),
      beyondBank: overOpen(({ payments, bank }) => payments.latency.p99 - bank.latency.p99),
      statuses: sumOf(open.map(({ payments }) => payments.statuses)),
    },
    lag:
      lags.length === 0
        ? null
        : {
            worst: round(Math.max(...lags), 1),
            clearedAfter: cleared.includes(null) ? null : round(Math.max(...cleared.map(Number)), 1),
          },
  };
}

function sumOf(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const each of counts) for (const [name, count] of Object.entries(each)) sums[name] = (sums[name] ?? 0) + count;
  return sums;
}

function range({ median, least, most }: Spread, digits = 0): string {
  return `${median.toFixed(digits)} (${least.toFixed(digits)}–${most.toFixed(digits)})`;
}

function listOf(values: Readonly<Record<string, number>>, digits: number): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${value.toFixed(digits)}`)
    .join(', ');
}
