// The journal as the durable buffer: whatever a feed did not get from the log, it reads here. Where the journal itself lacks
// something, the orders stand in for it (order-snapshots.ts).
import type { Gap } from '@ballast/contracts';
import type { OutgoingEvent } from '@ballast/events/kafka';
import pg from 'pg';
import { disconnect } from '../source/connect.ts';
import { type PgSnapshot, parseSnapshot, SEES_NOTHING } from '../source/pg-snapshot.ts';
import { isLettingGo } from './expired-days.sql.ts';
import type { GenerationOf } from './generations.ts';
import {
  type Holder,
  readBlocks,
  readGaps,
  readHolder,
  readPredecessors,
  readSnapshot,
  readStretches,
  readWatermark,
  readWholeStretches,
  type Stretch,
  summarizeXids,
} from './journal.sql.ts';
import type { WatermarkRow } from './journal-row.ts';
import { journalColumns, journalRowReader, rfc3339 } from './journal-row.ts';
import { readSnapshotBefore } from './left-behind.sql.ts';
import { blocksOf, openOrderSnapshots } from './order-snapshots.ts';

export interface Piece {
  readonly events: readonly OutgoingEvent[];
  readonly blocksLeft: number;
}

export interface Refill {
  /** Everything visible in it was handed out once the pieces are through. */
  readonly until: PgSnapshot;
  /** The source's time just after it was taken. */
  readonly at: number;
  readonly blocks: number;
  /** One is read ahead while the last one is delivered. */
  pieces(): AsyncGenerator<Piece>;
  /** True of the source once the pieces are through. */
  readonly watermarks: readonly WatermarkRow[];
}

export interface Journal {
  /**
   * What is not visible in `since`. `ascending`: each order's events in their order, each once; without it almost always
   * so, which is enough for a consumer that holds and asks.
   */
  refill(since: PgSnapshot, ascending: boolean): Promise<Refill>;
  /** Of each order's gap what there is, at most MAX_FILL in all, and the order itself where the journal lacks something. */
  fill(gaps: readonly Gap[]): Promise<OutgoingEvent[]>;
  /** Where a subscriber goes on that has everything decided before `value`; undefined: too long ago. */
  before(value: string): Promise<{ readonly snapshot: PgSnapshot; readonly at: number } | undefined>;
  /** Whose transaction this is, while it is open. */
  holder(xid: number): Promise<Holder | undefined>;
  /** What is being read fails at once: nobody waits for a source that is gone. */
  close(): Promise<void>;
}

interface Between {
  readonly since: PgSnapshot;
  readonly until: PgSnapshot;
  readonly early: Set<string>;
}

export interface JournalOptions {
  readonly source: string;
  readonly connectionString: string;
  readonly applicationName: string;
  readonly generation: number;
  readonly generationOf: GenerationOf;
}

const MAX_CONNECTIONS = 3;
const CONNECT_TIMEOUT_MS = 3_000;
const STATEMENT_TIMEOUT_MS = 30_000;
/** The server's own limit comes first; beyond it the server is not there any more. */
const SILENCE_MARGIN_MS = 2_000;
/** 128 blocks of 8 kB hold about a thousand events; where few of them match, more blocks are read at a time. */
const FIRST_BLOCKS = 128;
const MOST_BLOCKS = 1_024;
const WANTED_ROWS = 1_000;
const MAX_FILL = 5_000;
const SUMMARIZE_EVERY_MS = 10_000;

export function openJournal(options: JournalOptions): Journal {
  const { source, connectionString, applicationName, generation, generationOf } = options;
  const clients = new Set<pg.PoolClient>();
  const pool = new pg.Pool({
    connectionString,
    application_name: applicationName,
    max: MAX_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + SILENCE_MARGIN_MS,
    // Statistics know nothing of the newest rows, and a run of blocks or a BRIN range is always right here.
    options: `-c TimeZone=UTC -c DateStyle=ISO -c enable_seqscan=off -c jit=off -c statement_timeout=${STATEMENT_TIMEOUT_MS}`,
  });
  pool.on('error', () => undefined); // an idle connection was lost; the next query makes another or fails itself
  // The pool listens to idle connections only: one that is lost while it is in use would end the process. Its query fails.
  pool.on('connect', (client) => {
    client.on('error', () => undefined);
    clients.add(client);
  });
  pool.on('remove', (client) => clients.delete(client));
  const rowOf = journalRowReader(source, journalColumns, generationOf);
  const snapshots = openOrderSnapshots({ withClient, eventOf: (row) => rowOf(row).message });
  let summarizedAt = Number.NEGATIVE_INFINITY;

  async function withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await pool.connect();
    let broken = true;
    try {
      const result = await work(client);
      broken = false;
      return result;
    } finally {
      client.release(broken);
    }
  }

  async function refill(since: PgSnapshot, ascending: boolean): Promise<Refill> {
    return withClient(async (client) => {
      const watermark = await readWatermark(client, source);
      const { text, at } = await readSnapshot(client);
      const until = parseSnapshot(text);
      if (performance.now() - summarizedAt > SUMMARIZE_EVERY_MS) {
        summarizedAt = performance.now();
        await summarizeXids(client);
      }
      const whole = since.text === SEES_NOTHING.text;
      const stretches = whole ? await readWholeStretches(client) : await readStretches(client, since.xmin);
      const days = await snapshots.days(client, since);
      // Looked at after the partitions: what was not among them is gone, or is still on its way. Whoever wants less than
      // everything has what is in such a day: it is let go when nobody lacks anything of it.
      if (whole && (await isLettingGo(client)))
        throw new Error('the source is letting a day go: the whole journal is read when that is over');
      const ofOrders = blocksOf(days);
      return {
        until,
        at,
        blocks: stretches.reduce((sum, stretch) => sum + stretch.toBlock - stretch.fromBlock, ofOrders),
        pieces: async function* () {
          for await (const { events, blocksLeft } of pieces(stretches, since, until, ascending))
            yield { events, blocksLeft: blocksLeft + ofOrders };
          yield* snapshots.pieces(days, since);
        },
        watermarks:
          watermark === undefined
            ? []
            : [{ kind: 'watermark', source, generation, node: source, value: rfc3339(watermark) }],
      };
    });
  }

  async function* pieces(
    stretches: readonly Stretch[],
    since: PgSnapshot,
    until: PgSnapshot,
    ascending: boolean,
  ): AsyncGenerator<Piece> {
    let left = stretches.reduce((sum, stretch) => sum + stretch.toBlock - stretch.fromBlock, 0);
    let size = FIRST_BLOCKS;
    const early = new Set<string>();
    const runs = function* (): Generator<Stretch> {
      for (const { partition, fromBlock, toBlock } of stretches)
        for (let from = fromBlock; from < toBlock; ) {
          const to = Math.min(toBlock, from + size);
          yield { partition, fromBlock: from, toBlock: to };
          from = to;
        }
    };
    const readRun = (run: Stretch) => {
      const events = withClient(async (client) => {
        const found = (await readBlocks(client, run, since, until)).map((row) => rowOf(row).message);
        return ascending ? inOrder(client, run, found, { since, until, early }) : found;
      });
      events.catch(() => undefined); // seen where it is awaited, unless the reader has left by then
      return events;
    };
    const order = runs();
    let next = order.next();
    let reading = next.done ? undefined : readRun(next.value);
    while (reading !== undefined && !next.done) {
      const events = await reading;
      left -= next.value.toBlock - next.value.fromBlock;
      size =
        events.length < WANTED_ROWS / 2
          ? Math.min(MOST_BLOCKS, size * 2)
          : events.length > WANTED_ROWS
            ? FIRST_BLOCKS
            : size;
      next = order.next();
      reading = next.done ? undefined : readRun(next.value);
      if (events.length > 0) yield { events, blocksLeft: left };
    }
  }

  /**
   * Sorted by order and version, with what must come before and stands in later blocks. `early`: what was handed out so
   * and has yet to be met there; it holds a few rows, those that writers side by side put into what a page had left.
   */
  async function inOrder(
    client: pg.PoolClient,
    run: Stretch,
    found: readonly OutgoingEvent[],
    { since, until, early }: Between,
  ): Promise<OutgoingEvent[]> {
    const fresh = found.filter(({ id }) => !early.delete(id));
    const orders = Map.groupBy(fresh, ({ order_id }) => order_id);
    const incomplete = [...orders.values()].flatMap((events) => {
      const last = events.reduce((a, b) => (a.version > b.version ? a : b));
      return events.length < last.version ? [last] : [];
    });
    const rows = incomplete.length === 0 ? [] : await readPredecessors(client, run, incomplete, since, until);
    const before = rows.map((row) => rowOf(row).message).filter(({ id }) => !early.has(id));
    for (const { id } of before) early.add(id);
    return [...before, ...fresh].sort(
      (a, b) => (a.order_id < b.order_id ? -1 : a.order_id > b.order_id ? 1 : 0) || a.version - b.version,
    );
  }

  return {
    refill,
    fill: async (gaps) => {
      const rows = await withClient((client) => readGaps(client, gaps, MAX_FILL));
      const events = rows.map((row) => rowOf(row).message);
      return [...events, ...(await snapshots.instead(gaps, events, rows.length < MAX_FILL))];
    },
    before: async (value) => {
      const found = await withClient((client) => readSnapshotBefore(client, value));
      return found && { snapshot: parseSnapshot(found.text), at: found.at };
    },
    holder: (xid) => withClient((client) => readHolder(client, xid)),
    close: async () => {
      const ended = pool.end(); // nobody is let in any more
      await Promise.all([...clients].map(disconnect));
      await ended;
    },
  };
}
