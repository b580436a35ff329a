// The canonical load: payments at 64 connections beside the baseline, run by run, on servers of its own; then an open rate
// for the latency; then the invariants. `core` runs collection and the banks, `whole` forwarding and query too.
import { join } from 'node:path';
import { type RunFile, readCredentials, serviceOf } from '../../scripts/system/run-file.ts';
import { bankNames, demoHorizonMs } from '../../scripts/system/service-configs.ts';
import { type Baseline, openBaseline } from '../baseline/open-baseline.ts';
import type { Checked } from '../checker/check.ts';
import { type Generator, openGenerator } from '../generator/open-generator.ts';
import type { Plan, RunResult, Target } from '../generator/plan.ts';
import type { Say } from './findings.ts';
import { type LagWatch, watchLag } from './lag.ts';
import { type Observed, observe, startedServices, withClient } from './observe.ts';
import { checkAll, terminalsOf, untilQuiet, withSystem } from './scene.ts';

export const CONNECTIONS = 64;
export const OPEN_RATE = 300;
const RUNS = 3;
const WARMUP_MS = 2_000;
const RUN_MS = 8_000;
/** At an open rate too, neighbours in time: the bank alone, then payments, so often. */
const OPEN_RUNS = 5;
/** The first seconds after a checkpoint write whole pages: what is looked at is what comes then. */
const OPEN_WARMUP_MS = 4_000;
const OPEN_RUN_MS = 6_000;
/** What two cores of today do in a run is made and signed beforehand. */
const PREPARED = 90_000;
/** Beyond what 300/s ever need at once unless the service stands still. */
const OPEN_CONNECTIONS = 128;
const LAG_LIMIT_SECONDS = 30;
const QUIET_LIMIT_MS = 60_000;

export interface Pair {
  readonly payments: RunResult;
  readonly observed: Observed;
  readonly baseline: number;
  readonly worstLagSeconds: number | null;
  /** Until the lag was below one second after the run; null: not within 30 s, or nobody reads. */
  readonly lagClearedAfterSeconds: number | null;
}

export interface OpenPair {
  readonly payments: RunResult;
  readonly bank: RunResult;
}

export interface Measured {
  readonly baseline: Pick<Baseline, 'name' | 'pgbench'>;
  readonly durability: Readonly<Record<string, string>>;
  readonly pairs: readonly Pair[];
  readonly open: readonly OpenPair[];
  readonly checked: Checked;
}

/** `tell` is given what was measured; true: every invariant holds. */
export function runPayments(name: 'core' | 'whole', say: Say, tell: (measured: Measured) => boolean): Promise<boolean> {
  const fast = { latency: { p50_ms: 0, p99_ms: 0 }, decline_rate: 0 };
  const work = async (run: RunFile) => {
    const generator = openGenerator();
    try {
      return tell(await measure(run, generator, name === 'whole', say));
    } finally {
      generator.close();
    }
  };
  return withSystem(name, say, ({ runFile }) => work(runFile), {
    services: ['bank-simulator', 'collection', ...(name === 'whole' ? (['query', 'forwarding'] as const) : [])],
    banks: Object.fromEntries(bankNames.map((bank) => [bank, fast])),
    logLevel: 'info',
    horizonMs: demoHorizonMs,
  });
}

async function measure(run: RunFile, generator: Generator, whole: boolean, say: Say): Promise<Measured> {
  const durability = await assertDurable(run.databases.orders);
  const baseline = await openBaseline(run.databases.orders);
  const { merchants } = readCredentials(run);
  const target: Target = {
    kind: 'payments',
    url: serviceOf(run, 'collection').url,
    terminals: merchants.flatMap(terminalsOf),
  };
  const historyFile = join(run.data_dir, 'bench.history.jsonl');
  const ids = merchants.map(({ merchant_id }) => merchant_id.slice('mer_'.length));
  const lag = whole ? await watchLag(run.databases.orders, run.databases.query, ids) : null;
  const plan = { target, warmupMs: WARMUP_MS, prepare: PREPARED, historyFile };
  const pairs: Pair[] = [];
  for (let number = 1; number <= RUNS; number++) {
    const arrival = { kind: 'closed', connections: CONNECTIONS } as const;
    const pair = await runPair(run, generator, baseline, lag, { ...plan, run: number, arrival, durationMs: RUN_MS });
    pairs.push(pair);
    say(
      `run ${number} of ${RUNS}: ${Math.round(pair.payments.perSecond)} payments/s, ` +
        `${baseline.name} ${Math.round(pair.baseline)}/s, ratio ${(pair.payments.perSecond / pair.baseline).toFixed(2)}`,
    );
  }
  say(`open rate, ${OPEN_RATE}/s …`);
  const open: OpenPair[] = [];
  for (let number = 1; number <= OPEN_RUNS; number++)
    open.push(await runOpenPair(run, generator, { ...plan, run: 90 + number }));
  const cleared = (await lag?.untilBelow(1, LAG_LIMIT_SECONDS)) ?? null;
  if (lag !== null && cleared === null) say('the read model did not catch up');
  await lag?.close();
  say('checking the invariants …');
  await untilQuiet(run, QUIET_LIMIT_MS); // what is open after that, the checker reports
  const faces = startedServices(run).flatMap(([, service]) =>
    'internal_url' in service ? [service.internal_url] : [],
  );
  const checked = await checkAll(run, historyFile, faces, whole);
  return { baseline, durability, pairs, open, checked };
}

/** Payments, then the baseline: neighbours in time, because the machine drifts. */
async function runPair(
  run: RunFile,
  generator: Generator,
  baseline: Baseline,
  lag: LagWatch | null,
  plan: Plan,
): Promise<Pair> {
  const prepared = await generator.prepare(plan);
  await checkpoint(run.databases.orders);
  lag?.worst();
  const observer = await observe(run, generator.pid);
  const { result, written } = await prepared.go();
  const observed = await observer.end();
  const worstLagSeconds = lag === null ? null : lag.worst();
  const lagClearedAfterSeconds = lag === null ? null : await lag.untilBelow(1, LAG_LIMIT_SECONDS);
  await written;
  await checkpoint(run.databases.orders);
  const perSecond = await baseline.run(CONNECTIONS, (WARMUP_MS + RUN_MS) / 1_000);
  return { payments: result, observed, baseline: perSecond, worstLagSeconds, lagClearedAfterSeconds };
}

async function runOpenPair(
  run: RunFile,
  generator: Generator,
  plan: Omit<Plan, 'arrival' | 'durationMs'>,
): Promise<OpenPair> {
  const open: Plan = {
    ...plan,
    warmupMs: OPEN_WARMUP_MS,
    durationMs: OPEN_RUN_MS,
    prepare: (OPEN_RATE * (OPEN_WARMUP_MS + OPEN_RUN_MS)) / 1_000,
    arrival: { kind: 'open', perSecond: OPEN_RATE, maxConnections: OPEN_CONNECTIONS },
  };
  await checkpoint(run.databases.orders);
  const url = run.banks['bank_c']?.url ?? '';
  const bank = await runLoad(generator, { ...open, target: { kind: 'bank', url }, historyFile: null });
  return { bank, payments: await runLoad(generator, open) };
}

async function runLoad(generator: Generator, plan: Plan): Promise<RunResult> {
  const prepared = await generator.prepare(plan);
  const { result, written } = await prepared.go();
  await written;
  return result;
}

/** So that no run pays for the pages that another one wrote. */
async function checkpoint(url: string): Promise<void> {
  await withClient(url, (client) => client.query('checkpoint'));
}

/** Every figure here stands on commits that survive a crash. */
async function assertDurable(url: string): Promise<Record<string, string>> {
  const names = ['fsync', 'full_page_writes', 'synchronous_commit'];
  const { rows } = await withClient(url, (client) =>
    client.query<{ name: string; setting: string }>(
      'select name, setting from pg_settings where name = any($1) order by 1',
      [names],
    ),
  );
  const lossy = rows.find(({ setting }) => setting !== 'on');
  if (lossy !== undefined) throw new Error(`the order database runs with ${lossy.name} = ${lossy.setting}`);
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
}
