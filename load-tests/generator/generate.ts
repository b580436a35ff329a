// The load generator: a process of its own, told over IPC what to send (plan.ts), which it makes and signs beforehand.
import { appendFileSync } from 'node:fs';
import { type Operation, resultOf } from '../checker/history.ts';
import { arrive } from './arrivals.ts';
import type { Answer } from './connection.ts';
import type { FromGenerator, Impatience, Plan, RunResult, Target, ToGenerator } from './plan.ts';
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
  gc?.(); // what earlier runs left is collected now: a pause of ours in the run would look like one of the service
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
  const slowestMs = new Map<number, number>();
  const { impatience } = plan;
  const startedAt = performance.now();
  const bySecond = Array.from({ length: Math.ceil((plan.warmupMs + plan.durationMs) / 1_000) }, () => 0);
  const from = startedAt + plan.warmupMs;
  const until = from + plan.durationMs;
  await arrive(plan.arrival, {
    urls: urlsOf(plan.target),
    until,
    ...(impatience === undefined ? {} : { again: patienceOf(impatience, expected) }),
    next: () => {
      const prepared = ready[n] ?? make(n);
      n++;
      return prepared;
    },
    onAnswer: (prepared, answer, dueAt, sentAt) => {
      const at = performance.now();
      const status = answer?.status ?? 0;
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      slowestMs.set(status, Math.max(slowestMs.get(status) ?? 0, at - sentAt));
      if (plan.historyFile !== null) answers.push({ prepared, status, body: answer?.body ?? null, at });
      if (status !== expected) return;
      answeredInAll++;
      const second = Math.floor((at - startedAt) / 1_000);
      if (second < bySecond.length) bySecond[second] = (bySecond[second] ?? 0) + 1;
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
    bySecond,
    slowestMs: Object.fromEntries(slowestMs),
  };
  tell({ kind: 'done', result });
  if (plan.historyFile !== null) writeHistory(plan.historyFile, answers);
  tell({ kind: 'written' });
}

function urlsOf(target: Target): readonly string[] {
  return target.kind === 'payments' ? [target.url, ...(target.otherUrls ?? [])] : [target.url];
}

/** When a payment that got this answer is sent again, in ms; null: it is not. */
function patienceOf({ tries, pauseMs }: Impatience, final: number) {
  const sent = new Map<Prepared, number>();
  return (prepared: Prepared, answer: Answer | null): number | null => {
    const before = sent.get(prepared) ?? 1;
    if (answer?.status === final || before >= tries) {
      sent.delete(prepared);
      return null;
    }
    sent.set(prepared, before + 1);
    return pauseMs * (0.5 + Math.random());
  };
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
