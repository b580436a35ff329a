// The load generator: a process of its own, told over IPC what to send (plan.ts), which it makes and signs beforehand.
import { appendFileSync } from 'node:fs';
import { type Operation, resultOf } from '../checker/history.ts';
import { arrive } from './arrivals.ts';
import type { FromGenerator, Plan, RunResult, ToGenerator } from './plan.ts';
import { createRequests, type Prepared } from './requests.ts';

interface Answered {
  readonly prepared: Prepared;
  readonly status: number;
  readonly body: string | null;
  readonly at: number;
}

const HISTORY_CHUNK = 5_000;
let planned: { plan: Plan; ready: Prepared[]; make: (n: number) => Prepared } | null = null;

process.on('message', (message: ToGenerator) => {
  const work = message.kind === 'prepare' ? async () => prepare(message.plan) : go;
  work().catch((error: unknown) =>
    tell({ kind: 'failed', reason: error instanceof Error ? `${error.stack}` : String(error) }),
  );
});

function tell(message: FromGenerator): void {
  process.send?.(message);
}

function prepare(plan: Plan): void {
  const make = createRequests(plan.target, plan.run);
  planned = { plan, make, ready: Array.from({ length: plan.prepare }, (_, n) => make(n)) };
  tell({ kind: 'prepared' });
}

async function go(): Promise<void> {
  if (planned === null) throw new Error('told to go before it was told what');
  const { plan, ready, make } = planned;
  planned = null;
  const answers: Answered[] = [];
  const latencies: number[] = [];
  const statuses = new Map<number, number>();
  const expected = plan.target.kind === 'payments' ? 201 : 200;
  let n = 0;
  let answered = 0;
  let answeredInAll = 0;
  const from = performance.now() + plan.warmupMs;
  const until = from + plan.durationMs;
  await arrive(plan.arrival, {
    url: plan.target.url,
    until,
    next: () => {
      const prepared = ready[n] ?? make(n);
      n++;
      return prepared;
    },
    onAnswer: (prepared, answer, dueAt) => {
      const at = performance.now();
      const status = answer?.status ?? 0;
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (plan.historyFile !== null) answers.push({ prepared, status, body: answer?.body ?? null, at });
      if (status !== expected) return;
      answeredInAll++;
      if (at < from || at >= until) return;
      answered++;
      latencies.push(at - dueAt);
    },
  });
  const seconds = plan.durationMs / 1_000;
  const result: RunResult = {
    seconds,
    answered,
    perSecond: answered / seconds,
    latency: percentiles(latencies),
    statuses: Object.fromEntries(statuses),
    answeredInAll,
  };
  tell({ kind: 'done', result });
  if (plan.historyFile !== null) writeHistory(plan.historyFile, answers);
  tell({ kind: 'written' });
}

function percentiles(latencies: number[]): RunResult['latency'] {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

function writeHistory(file: string, answers: readonly Answered[]): void {
  const now = Date.now() - performance.now();
  for (let from = 0; from < answers.length; from += HISTORY_CHUNK) {
    const lines = answers.slice(from, from + HISTORY_CHUNK).flatMap(({ prepared, status, body, at }) => {
      if (prepared.asked === null) return [];
      const { terminal, key, batchNumber, traceNumber, amount } = prepared.asked;
      const operation: Operation = {
        at: new Date(now + at).toISOString(),
        kind: 'payment',
        key,
        merchant_id: terminal.merchant_id,
        terminal_id: terminal.terminal_id,
        livemode: terminal.livemode,
        batch_number: batchNumber,
        trace_number: traceNumber,
        amount,
        currency: terminal.currency,
        result: status === 0 ? 'unknown' : resultOf(status, /"code":"(\w+)"/.exec(body ?? '')?.[1]),
        http: status === 0 ? null : status,
        body,
      };
      return [`${JSON.stringify(operation)}\n`];
    });
    appendFileSync(file, lines.join(''));
  }
}

// The benchmark that started us is gone: so are we.
process.on('disconnect', () => process.exit(0));
