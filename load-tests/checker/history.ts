// What the clients saw: one JSON line per operation, written by whatever drives traffic (bench, sweep, tests).
//
// Every operation has three results. `ok`: an answer that promises an effect (2xx). `failed`: an answer that promises
// there is none of this request (4xx, 429, 503 before anything was stored). `unknown`: no answer, a cut connection, or one
// that says it does not know (500, 503 `database_unavailable`); either is then allowed.
import { closeSync, createReadStream, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';

export interface Operation {
  /** When the answer came, or was given up. RFC 3339. */
  readonly at: string;
  readonly kind: 'payment' | 'void' | 'get';
  /** Idempotency-Key; null for a get. */
  readonly key: string | null;
  /** `mer_…` and `trm_…`, with or without the prefix. */
  readonly merchant_id: string;
  readonly terminal_id: string;
  readonly livemode: boolean;
  readonly batch_number: string;
  readonly trace_number: string;
  /** What a payment asked for; null for a void or a get. */
  readonly amount: number | null;
  readonly currency: string | null;
  readonly result: 'ok' | 'failed' | 'unknown';
  readonly http: number | null;
  /** The body, byte for byte. */
  readonly body: string | null;
}

/** An `ok` operation with its body read. */
export interface Told {
  readonly operation: Operation;
  readonly body: Readonly<Record<string, unknown>>;
  /** The body is the stored final answer (201): the same bytes for ever. */
  readonly final: boolean;
}

export interface History {
  readonly operations: number;
  readonly counts: Readonly<Record<Operation['result'], number>>;
  /** What was told about each order, by its id without prefix. */
  readonly byOrder: ReadonlyMap<string, Told[]>;
  /** `ok` operations without an order: voids that came before their payment. */
  readonly heldVoids: readonly Operation[];
  /** `ok` answers that are not what an answer looks like. */
  readonly unreadable: readonly Operation[];
}

/** Appends one line per operation, at once: a driver that is killed loses none that it recorded. */
export function openHistory(file: string): { record(operation: Operation): void; close(): void } {
  mkdirSync(dirname(file), { recursive: true });
  const fd = openSync(file, 'a', 0o600);
  return {
    record: (operation) => void writeSync(fd, `${JSON.stringify(operation)}\n`),
    close: () => closeSync(fd),
  };
}

/** What an answer promises. `code` is the problem's, where the body is one. */
export function resultOf(http: number, code?: string): Operation['result'] {
  if (http >= 200 && http < 300) return 'ok';
  if (http === 500 || http === 502 || http === 504 || code === 'database_unavailable') return 'unknown';
  return 'failed';
}

export async function readHistories(files: readonly string[]): Promise<History> {
  const counts = { ok: 0, failed: 0, unknown: 0 };
  const byOrder = new Map<string, Told[]>();
  const heldVoids: Operation[] = [];
  const unreadable: Operation[] = [];
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line === '') continue;
      const operation = JSON.parse(line) as Operation;
      counts[operation.result]++;
      if (operation.result !== 'ok') continue;
      const told = toldBy(operation);
      if (told === undefined) unreadable.push(operation);
      else if (typeof told.body['id'] !== 'string') heldVoids.push(operation);
      else {
        const id = uuidOf(told.body['id']);
        const others = byOrder.get(id);
        if (others === undefined) byOrder.set(id, [told]);
        else others.push(told);
      }
    }
  }
  return { operations: counts.ok + counts.failed + counts.unknown, counts, byOrder, heldVoids, unreadable };
}

function toldBy(operation: Operation): Told | undefined {
  try {
    const body: unknown = JSON.parse(operation.body ?? '');
    if (typeof body !== 'object' || body === null) return undefined;
    return { operation, body: body as Told['body'], final: operation.kind === 'payment' && operation.http === 201 };
  } catch {
    return undefined; // reported as unreadable
  }
}

/** `ord_<uuid>` → `<uuid>`. */
export function uuidOf(id: string): string {
  return id.replace(/^[a-z]{3}_/, '');
}
