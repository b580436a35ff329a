// What the benchmarks of the channel policy stand on: a system of their own, its banks at their switchboard, and the
// checker's last word when nothing is on its way any more.
import { chmodSync, createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { adminCall } from '../../scripts/system/admin-call.ts';
import { checkInputOf, metricsOf } from '../../scripts/system/check-input.ts';
import { type MerchantCredentials, type RunFile, readCredentials, serviceOf } from '../../scripts/system/run-file.ts';
import { bankNames } from '../../scripts/system/service-configs.ts';
import { type StartOptions, type System, startSystem } from '../../scripts/system/start-system.ts';
import { type Checked, check } from '../checker/check.ts';
import type { Operation } from '../checker/history.ts';
import { openOrders } from '../checker/quiet.ts';
import type { GeneratorTerminal, RunResult } from '../generator/plan.ts';
import { type BenchFinding, found, promise, type Say, target, tell } from './findings.ts';
import { withClient } from './observe.ts';
import { round } from './statistics.ts';

/** Like a decent acquirer's line, and narrow: so that a p99 is one, and not a draw of luck. */
const latency = { p50_ms: 60, p99_ms: 80 };
/** Of the banks: what they may still book after the last moment at which a request of ours could have left. */
const horizonMs = 1_000;
const LOOK_MS = 250;

export interface Worked {
  readonly findings: readonly BenchFinding[];
  readonly checked: Checked;
}

/** On a system of its own; tells what was found. True: every promise is kept, every invariant holds. */
export function onSystemOfItsOwn(
  name: string,
  say: Say,
  work: (system: System) => Promise<Worked>,
  options: Partial<StartOptions> = {},
): Promise<boolean> {
  const told = async (system: System) => {
    const { findings, checked } = await work(system);
    return tell(name, findings, checked, say);
  };
  return withSystem(name, say, told, options);
}

/**
 * Collection, the banks and both databases, and what else is asked for; stopped in the end. `work` tells what it found itself,
 * and resolves to whether it all holds. Where it does not, the logs, the books and what terminals were told stay, and it is
 * said where.
 */
export async function withSystem(
  name: string,
  say: Say,
  work: (system: System) => Promise<boolean>,
  options: Partial<StartOptions> = {},
): Promise<boolean> {
  const dataDir = mkdtempSync(join(tmpdir(), `ballast-bench-${name}-`));
  chmodSync(dataDir, 0o711); // PostgreSQL's own user passes through it
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
  say(
    `starting two PostgreSQL servers, ${options.kafka === true ? 'Kafka, the services' : 'collection'} and the banks …`,
  );
  const system = await startSystem({
    dataDir,
    services: ['bank-simulator', 'collection'],
    banks: Object.fromEntries(bankNames.map((bank) => [bank, { latency, decline_rate: 0 }])),
    horizonMs,
    logLevel: 'warn',
    ...options,
    signal: interrupted.signal,
  });
  const stopped = new Promise<never>((_, reject) =>
    interrupted.signal.addEventListener('abort', () => reject(new Error('Stopped before it was done.'))),
  );
  let holds = false;
  try {
    holds = await Promise.race([work(system), stopped]);
  } finally {
    await system.stop();
    for (const part of holds ? [''] : ['postgres', 'kafka', 'credentials.json', 'installation.json', 'config'])
      rmSync(join(dataDir, part), { recursive: true, force: true });
    if (!holds) process.stderr.write(`kept for whoever looks for the reason: ${dataDir}\n`);
  }
  return holds;
}

export interface Misbehaviour {
  readonly behaviour: string;
  readonly operation?: 'charge' | 'inquiry' | 'reversal' | 'any';
  readonly times?: number;
}

export function makeIll(run: RunFile, bank: string, ...rules: readonly Misbehaviour[]): Promise<unknown> {
  return adminCall('PUT', behaviourOf(run, bank), { body: { rules } });
}

/** Every answer comes so much later. */
export function slowDown(run: RunFile, bank: string, ms: number): Promise<unknown> {
  return adminCall('PUT', behaviourOf(run, bank), { body: { extra_latency_ms: ms } });
}

export function heal(run: RunFile, bank: string): Promise<unknown> {
  return adminCall('DELETE', behaviourOf(run, bank));
}

function behaviourOf(run: RunFile, bank: string): string {
  return `${serviceOf(run, 'bank-simulator').admin_url}/banks/${bank}/behaviour`;
}

export type Received = Readonly<Record<'charge' | 'inquiry' | 'reversal' | 'refund', number>>;

/** Requests that have reached this bank since its start, by its own count. */
export async function receivedBy(run: RunFile, bank: string): Promise<Received> {
  const banks = await adminCall('GET', `${serviceOf(run, 'bank-simulator').admin_url}/banks`);
  const found = (banks as { name: string; received: Received }[]).find(({ name }) => name === bank);
  if (found === undefined) throw new Error(`the simulator has no ${bank}`);
  return found.received;
}

/** Everything this merchant's terminals take goes to one bank. */
export async function routeAllTo(run: RunFile, { merchant_id }: MerchantCredentials, bank: string): Promise<void> {
  const routes = (['card', 'code'] as const).map((method, index) => ({
    channel: bank,
    method,
    merchant_number: `${merchant_id.slice(-4)}00000001`,
    terminal_number: String(index + 1).padStart(8, '0'),
  }));
  const url = `${serviceOf(run, 'collection').internal_url}/admin/merchants/${merchant_id}/routes`;
  await adminCall('PUT', url, { token: readCredentials(run).admin_token, body: { routes } });
}

export function terminalsOf({ merchant_id, currencies, terminals }: MerchantCredentials): GeneratorTerminal[] {
  return terminals.map((terminal) => ({ ...terminal, merchant_id, currency: currencies[0] ?? 'EUR' }));
}

/** Resolves when every order is decided, to the ms that it took; null: some are still open after `limitMs`. */
export async function untilQuiet(run: RunFile, limitMs: number): Promise<number | null> {
  const startedAt = performance.now();
  return withClient(run.databases.orders, async (client) => {
    for (;;) {
      const open = await openOrders(client);
      const elapsed = performance.now() - startedAt;
      if (open === 0) return elapsed;
      if (elapsed > limitMs) return null;
      await pause(LOOK_MS);
    }
  });
}

/**
 * Every invariant over the whole run; what is still open then is a violation. `internalUrls`: whose metrics are read too.
 * `query`: the read model as well, which has to be up.
 */
export async function checkAll(
  run: RunFile,
  historyFile: string,
  internalUrls: readonly string[] = [serviceOf(run, 'collection').internal_url],
  query = false,
): Promise<Checked> {
  const { query: readModel, ...others } = run.databases;
  const databases = query ? { ...others, query: readModel } : others;
  const metrics = await metricsOf(internalUrls);
  return check(checkInputOf({ ...run, databases }, { histories: [historyFile], metrics, quiet: true }));
}

/** Whether any terminal, whatever it was told, waited longer than its deadline. */
export function slowestAnswer(results: readonly RunResult[], deadlineMs: number): BenchFinding {
  const slowest: Record<string, number> = {};
  for (const { slowestMs } of results)
    for (const [status, ms] of Object.entries(slowestMs)) slowest[status] = Math.max(slowest[status] ?? 0, round(ms));
  return found(
    'slowest_answer_ms',
    slowest,
    ['slowest answers, ms by status', JSON.stringify(slowest)],
    target(
      `≤ the deadline, ${deadlineMs} ms`,
      Object.values(slowest).every((ms) => ms <= deadlineMs),
    ),
  );
}

/** Answers that must never be, as terminals saw them: a bug's (500), and what is none (no answer at all). */
export async function oddAnswers(historyFile: string): Promise<BenchFinding> {
  const odd: string[] = [];
  for await (const line of createInterface({ input: createReadStream(historyFile) })) {
    const { http, body } = JSON.parse(line) as Operation;
    if (http === null || http === 500) odd.push(`${http} ${body ?? ''}`);
  }
  return found(
    'odd_answers',
    odd.length,
    ['answers 500, or none', [String(odd.length), ...odd.slice(0, 2)].join('  ')],
    promise('none', odd.length === 0),
  );
}
