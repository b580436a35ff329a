// Group commit: rows of concurrent requests are committed together. Throughput comes from sharing the fsync, never from
// weakening it.
//
// One batch is in flight at a time, on a connection of its own; the next batch is whatever arrived meanwhile, sorted by
// key, at most one row per key (a second waits). There is no timer. A batch is one autocommit statement:
//
//   answered        → each row is `applied` (returned) or `absent` (guard failed, duplicate)
//   refused whole   → its rows go one by one to the slow lane, so one poison row or lock does not hold the others;
//                     there, who meets a lock goes to the end of the line
//   connection lost → unknown: the same rows are sent again on a new connection, marked `resent`
import pg from 'pg';
import { CommitUnknown, isConnectionLoss, NotSent, QueueFull, RowRefused } from './group-commit-errors.ts';
import { openLane } from './lane.ts';
import { reportTransaction } from './transaction.ts';

export interface BatchStatement<Row, Returned> {
  /** Name of the prepared statement and of its timings. */
  readonly name: string;
  /** One autocommit statement; its parameters are arrays, one element per row. */
  readonly text: string;
  params(rows: readonly Row[]): unknown[];
  /** Batches are sorted by it and hold at most one row of each. */
  keyOf(row: Row): string;
  /** The key of the row that a returned row answers. */
  returnedKeyOf(returned: Returned): string;
}

export type Committed<Returned> =
  | { readonly kind: 'applied'; readonly row: Returned; readonly resent: boolean }
  /** Not returned. `resent`: an earlier sending may have committed, so the effect may be this row's own. */
  | { readonly kind: 'absent'; readonly resent: boolean };

export interface GroupCommitOptions<Row, Returned> {
  readonly connectionString: string;
  readonly applicationName: string;
  readonly statement: BatchStatement<Row, Returned>;
  readonly maxBatch?: number;
  readonly maxWaiting?: number;
  readonly slowLaneMaxWaiting?: number;
  readonly statementTimeoutMs?: number;
}

export interface GroupCommit<Row, Returned> {
  /**
   * Resolves after the commit. `giveUpAt`: monotonic ms (`performance.now()`).
   * Rejects with QueueFull or NotSent (nothing was sent), RowRefused (this row alone fails; nothing of it is stored), or
   * CommitUnknown, whatever else went wrong after a sending that nobody answered.
   */
  submit(row: Row, giveUpAt: number): Promise<Committed<Returned>>;
  stats(): { readonly waiting: number; readonly slow: number; readonly batches: number; readonly rows: number };
  /** Refuses new rows, finishes those in flight, disconnects. */
  close(): Promise<void>;
}

interface Waiting<Row, Returned> {
  readonly row: Row;
  readonly key: string;
  readonly giveUpAt: number;
  resent: boolean;
  /** How often the slow lane tried it, and what came of the last time. */
  tries: number;
  failed: unknown;
  resolve(committed: Committed<Returned>): void;
  reject(error: Error): void;
}

/** docs/facts.md: 200 rows a batch reach 33,000 rows/s, 1,000 no more. */
const MAX_BATCH = 200;
const MAX_WAITING = 5_000;
const SLOW_LANE_MAX_WAITING = 500;
/** A batch that meets a lock leaves for the slow lane at once, so the others wait no longer than this. */
const BATCH_LOCK_TIMEOUT_MS = 50;
/** Each stranger of the batch waits once for each locked row of it: long enough for most locks to pass, and no longer. */
const SLOW_LOCK_TIMEOUT_MS = 200;
/** Deadlocks and serialization are expected (two unique indexes cannot be locked in one order) and tried again; 5 s of them. */
const SLOW_TRIES = 25;
/** A batch is sent again at once; a connection that is lost time and again is not hammered. */
const FIRST_RESEND_PAUSE_MS = 20;
const LONGEST_RESEND_PAUSE_MS = 500;
const RETRYABLE = new Set(['40001', '40P01', '55P03', '57014']);

export function openGroupCommit<Row, Returned extends pg.QueryResultRow>(
  options: GroupCommitOptions<Row, Returned>,
): GroupCommit<Row, Returned> {
  const {
    statement,
    maxBatch = MAX_BATCH,
    maxWaiting = MAX_WAITING,
    slowLaneMaxWaiting = SLOW_LANE_MAX_WAITING,
  } = options;
  const connection = {
    connectionString: options.connectionString,
    applicationName: options.applicationName,
    ...(options.statementTimeoutMs === undefined ? {} : { statementTimeoutMs: options.statementTimeoutMs }),
  };
  const fast = openLane({ ...connection, lockTimeoutMs: BATCH_LOCK_TIMEOUT_MS });
  const slow = openLane({
    ...connection,
    applicationName: `${options.applicationName} slow`,
    lockTimeoutMs: SLOW_LOCK_TIMEOUT_MS,
  });
  let waiting: Waiting<Row, Returned>[] = [];
  const slowWaiting: Waiting<Row, Returned>[] = [];
  let pumping: Promise<void> | null = null;
  let slowPumping: Promise<void> | null = null;
  let closed = false;
  let batches = 0;
  let rowsSent = 0;

  function submit(row: Row, giveUpAt: number): Promise<Committed<Returned>> {
    if (closed || waiting.length >= maxWaiting) return Promise.reject(new QueueFull(statement.name, waiting.length));
    return new Promise((resolve, reject) => {
      waiting.push({
        row,
        key: statement.keyOf(row),
        giveUpAt,
        resent: false,
        tries: 0,
        failed: undefined,
        resolve,
        reject,
      });
      // The pump starts after this turn of the loop, so requests parsed in one turn share the first batch too.
      pumping ??= Promise.resolve().then(pump);
    });
  }

  async function pump(): Promise<void> {
    while (waiting.length > 0) {
      const batch = takeBatch();
      if (batch.length > 0) await commit(batch);
    }
    pumping = null;
  }

  /** The oldest rows, one per key, sorted by key; rows whose time has passed are told that nothing was sent. */
  function takeBatch(): Waiting<Row, Returned>[] {
    const now = performance.now();
    const batch = new Map<string, Waiting<Row, Returned>>();
    const left: Waiting<Row, Returned>[] = [];
    for (const entry of waiting) {
      if (entry.giveUpAt <= now) entry.reject(new NotSent(statement.name));
      else if (batch.size >= maxBatch || batch.has(entry.key)) left.push(entry);
      else batch.set(entry.key, entry);
    }
    waiting = left;
    return [...batch.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** Until every row of the batch is answered, handed to the slow lane, or past its time. */
  async function commit(batch: Waiting<Row, Returned>[]): Promise<void> {
    let open = batch;
    for (let losses = 0; open.length > 0; ) {
      try {
        return settle(open, await send(fast, open));
      } catch (error) {
        if (!isConnectionLoss(error)) return toSlowLane(open, error);
        await pauseAfter(losses++);
        open = survivors(open, error);
      }
    }
  }

  async function send(lane: typeof fast, entries: readonly Waiting<Row, Returned>[]): Promise<Returned[]> {
    // Until the first of them runs out of time: it is then told so, and the others go on.
    const client = await lane.connect(Math.min(...entries.map((entry) => entry.giveUpAt)));
    const values = statement.params(entries.map((entry) => entry.row));
    const started = performance.now();
    // step: before a batch is sent
    try {
      const result = await lane.query<Returned>(client, { name: statement.name, text: statement.text, values });
      batches++;
      rowsSent += entries.length;
      return result.rows;
    } catch (error) {
      if (isConnectionLoss(error)) {
        lane.drop(client);
        for (const entry of entries) entry.resent = true;
      }
      throw error;
    } finally {
      reportTransaction(statement.name, performance.now() - started);
    }
  }

  function settle(entries: readonly Waiting<Row, Returned>[], returned: readonly Returned[]): void {
    const byKey = new Map(returned.map((row) => [statement.returnedKeyOf(row), row]));
    if (byKey.size !== returned.length) throw new Error(`BUG: ${statement.name} returned a key twice`);
    for (const { key, resent, resolve } of entries) {
      const row = byKey.get(key);
      byKey.delete(key);
      resolve(row === undefined ? { kind: 'absent', resent } : { kind: 'applied', row, resent });
    }
    if (byKey.size > 0) throw new Error(`BUG: ${statement.name} returned keys that were not sent`);
  }

  /** After a lost connection: what has run out of time is told so, the rest is sent again. */
  function survivors(entries: readonly Waiting<Row, Returned>[], cause: unknown): Waiting<Row, Returned>[] {
    const now = performance.now();
    return entries.filter((entry) => {
      if (entry.giveUpAt > now) return true;
      refuse(entry, new NotSent(statement.name, cause));
      return false;
    });
  }

  /** With this, as long as it is true: once a sending was not answered, nobody knows that nothing is stored. */
  function refuse(entry: Waiting<Row, Returned>, error: Error): void {
    entry.reject(entry.resent ? new CommitUnknown(statement.name, error.cause) : error);
  }

  function toSlowLane(entries: readonly Waiting<Row, Returned>[], cause: unknown): void {
    for (const entry of entries) {
      if (slowWaiting.length >= slowLaneMaxWaiting)
        refuse(entry, new QueueFull(`${statement.name} (slow lane)`, slowWaiting.length, cause));
      else slowWaiting.push(entry);
    }
    slowPumping ??= pumpSlow();
  }

  async function pumpSlow(): Promise<void> {
    for (let entry = slowWaiting.shift(); entry !== undefined; entry = slowWaiting.shift()) {
      await commitAlone(entry);
    }
    slowPumping = null;
  }

  /** Until the row is answered, or refused once: then it waits behind the others, or that is its answer. */
  async function commitAlone(entry: Waiting<Row, Returned>): Promise<void> {
    for (let losses = 0; survivors([entry], entry.failed).length > 0; ) {
      try {
        return settle([entry], await send(slow, [entry]));
      } catch (error) {
        entry.failed = error;
        if (!isConnectionLoss(error)) return toEndOfSlowLane(entry, error);
        await pauseAfter(losses++);
      }
    }
  }

  function toEndOfSlowLane(entry: Waiting<Row, Returned>, cause: unknown): void {
    const sqlstate = cause instanceof pg.DatabaseError ? (cause.code ?? '') : '';
    if (++entry.tries < SLOW_TRIES && RETRYABLE.has(sqlstate)) slowWaiting.push(entry);
    else refuse(entry, new RowRefused(statement.name, sqlstate, cause));
  }

  return {
    submit,
    stats: () => ({ waiting: waiting.length, slow: slowWaiting.length, batches, rows: rowsSent }),
    close: async () => {
      closed = true;
      await pumping;
      await slowPumping;
      await Promise.all([fast.close(), slow.close()]);
    },
  };
}

async function pauseAfter(losses: number): Promise<void> {
  if (losses === 0) return;
  const ms = Math.min(LONGEST_RESEND_PAUSE_MS, FIRST_RESEND_PAUSE_MS * 2 ** Math.min(losses, 10));
  await new Promise((resolve) => setTimeout(resolve, ms));
}
