// The transaction scope. Inside it no external call is made: every outbound port (bank, webhook, broker, delivery) calls
// `refuseInTransaction` first, and the program throws instead of relying on review. Every transaction is timed.
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Knex } from 'knex';

export type AlarmLevel = 'none' | 'notice' | 'warning' | 'critical';

export interface TransactionTiming {
  readonly name: string;
  readonly durationMs: number;
  readonly level: AlarmLevel;
}

const NOTICE_MS = 100;
const WARNING_MS = 500;
const CRITICAL_MS = 1_000;

const scope = new AsyncLocalStorage<{ readonly name: string; open: boolean }>();
const listeners = new Set<(timing: TransactionTiming) => void>();

export class ExternalCallInTransaction extends Error {
  constructor(what: string, transaction: string) {
    super(`BUG: external call (${what}) inside the transaction "${transaction}"`);
    this.name = 'ExternalCallInTransaction';
  }
}

/** Throws ExternalCallInTransaction when called anywhere inside an open transaction scope, however deep. */
export function refuseInTransaction(what: string): void {
  const current = scope.getStore();
  if (current?.open) throw new ExternalCallInTransaction(what, current.name);
}

/** READ COMMITTED; commits when `work` resolves, rolls back when it rejects. `name` labels timings and alarms. */
export async function withTransaction<T>(
  knex: Knex,
  name: string,
  work: (trx: Knex.Transaction) => Promise<T>,
): Promise<T> {
  const started = performance.now();
  const frame = { name, open: true };
  const reasons: unknown[] = [];
  async function noted(trx: Knex.Transaction): Promise<T> {
    try {
      return await work(trx);
    } catch (error) {
      reasons.push(error);
      throw error;
    }
  }
  try {
    return await scope.run(frame, () => knex.transaction(noted, { isolationLevel: 'read committed' }));
  } catch (error) {
    // A lost connection is lost for the rollback too, and knex tells of that instead.
    throw reasons.length > 0 ? reasons[0] : error;
  } finally {
    frame.open = false; // work that outlives its transaction may call out again
    reportTransaction(name, performance.now() - started);
  }
}

/** Told of every transaction, also of autocommit batches. Returns the way to stop listening. */
export function onTransaction(listener: (timing: TransactionTiming) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function reportTransaction(name: string, durationMs: number): void {
  if (listeners.size === 0) return;
  const timing = { name, durationMs, level: levelOf(durationMs) };
  for (const listener of listeners) listener(timing);
}

function levelOf(durationMs: number): AlarmLevel {
  if (durationMs >= CRITICAL_MS) return 'critical';
  if (durationMs >= WARNING_MS) return 'warning';
  return durationMs >= NOTICE_MS ? 'notice' : 'none';
}
