// Drops the days that nobody needs any more: a day of orders, its attempts and its journal live and die together.
//
//   due       every moment of the day is older than orders are kept
//   held      an order or attempt is open, or with a person; a refund is still possible; a reader of the journal or a
//             replication slot is not past its last event; no reader has ever said how far it is. It stays
//   decided   written down before anything is done, so that whoever comes next goes on where this process died
//   detached  one table after the other, orders first: nothing of the day can move any more. Then everything is looked at
//             once more, for what moved in the meantime: where somebody holds it now, all of it is attached again
//   dropped   the three tables and the day's data key, in one transaction
//
// A day that fails holds itself up, and not the others. One whose detaching was interrupted comes first: until it is finished,
// nothing else of its table can be detached.
//
// Payments wait for none of it: see detach() in expire-days.sql.ts. What does not get its lock soon is tried next hour. But
// each detached table makes the batch statements plan anew, over all partitions: some 100 ms with 400 days, once, which the
// payments of that moment wait for. So there is a pause in between: they wait once, not several times in a row.
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from '@ballast/telemetry';
import pg from 'pg';
import { DAY_MS, dayOf, dayTables, startOf } from './days.ts';
import {
  attach,
  countAtWork,
  countOpenAttempts,
  type DayPartition,
  decide,
  detach,
  drop,
  exists,
  isOrderUnread,
  isUnread,
  lookAtOrders,
  type OrdersSeen,
  readBlocks,
  readDecided,
  readPartitions,
  readReaders,
  takeBackDecision,
  takeTurn,
} from './expire-days.sql.ts';

export interface ExpireOptions {
  readonly databaseUrl: string;
  readonly keptDays: number;
  readonly refundWindowDays: number;
  /** Database time, ms. */
  readonly now: () => number;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** After each table that was detached. */
  readonly pauseMs?: number;
  /** What does not get its lock by then is tried in the next round. */
  readonly lockTimeoutMs?: number;
  /** Its connection is ended in the middle of whatever it does: the next round goes on. */
  readonly signal?: AbortSignal;
}

export interface Holder {
  readonly who: string;
  readonly why: string;
}

export interface HeldDay {
  readonly day: string;
  /** Since when it could have gone, RFC 3339. */
  readonly due: string;
  readonly by: readonly Holder[];
}

export interface Expired {
  readonly dropped: readonly string[];
  /** The oldest first. */
  readonly held: readonly HeldDay[];
}

/** Any constant of our own: one instance drops days at a time. Not where orders are distributed over machines. */
const ADVISORY_LOCK = 7_301_003;
const PAUSE_MS = 2_000;
const LOCK_NOT_AVAILABLE = '55P03';
/** Holds a day whose dropping failed in a way of its own. */
export const FAILED = 'error';
const CONNECT_TIMEOUT_MS = 3_000;
/** Every transaction on these tables is shorter: 6 s (packages/database), and forwarding's reads 30 s; those come again. */
const LOCK_TIMEOUT_MS = 8_000;
const STATEMENT_TIMEOUT_MS = 60_000;
const SILENCE_MARGIN_MS = 2_000;
/** 64 MB, some 100 ms: a longer statement would hold up the watermarks. */
const RUN_BLOCKS = 8_192;

/** One round over every day that is due; undefined: another instance is at it. */
export async function expireDays(options: ExpireOptions): Promise<Expired | undefined> {
  const { signal } = options;
  signal?.throwIfAborted();
  const client = await connect(options);
  const abort = () => void client.end();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    signal?.throwIfAborted();
    if (!(await takeTurn(client, ADVISORY_LOCK))) return undefined;
    return await expireDue(client, options);
  } finally {
    signal?.removeEventListener('abort', abort);
    await client.end();
  }
}

async function expireDue(client: pg.Client, options: ExpireOptions): Promise<Expired> {
  const firstKept = dayOf(options.now() - options.keptDays * DAY_MS);
  const decided = new Set(await readDecided(client));
  const partitions = await readPartitions(client);
  const due = new Set([...partitions.map(({ day }) => day).filter((day) => day < firstKept), ...decided]);
  const dropped: string[] = [];
  const held: HeldDay[] = [];
  const interrupted = new Set(partitions.filter(({ pending }) => pending).map(({ day }) => day));
  for (const day of [...due].sort(inTurn(interrupted))) {
    const dueSince = new Date(startOf(day) + (options.keptDays + 1) * DAY_MS).toISOString();
    const attached = partitions.filter((partition) => partition.day === day);
    try {
      const by = await expireDay(client, day, attached, decided.has(day), options);
      if (by.length === 0) dropped.push(day);
      else held.push({ day, due: dueSince, by });
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) throw error;
      const who = error.code === LOCK_NOT_AVAILABLE ? 'lock' : FAILED;
      if (who === FAILED) options.logger.warn({ day, err: error }, 'a day could not be dropped');
      held.push({ day, due: dueSince, by: [{ who, why: error.message }] });
      const partitionsNow = await readPartitions(client);
      // One partition of a table can be on its way out at a time.
      if (who === 'lock' || partitionsNow.some(({ pending }) => pending)) break;
    }
  }
  return { dropped, held: held.sort((a, b) => (a.day < b.day ? -1 : 1)) };
}

/** Those of `first`, then the oldest. */
function inTurn(first: ReadonlySet<string>): (a: string, b: string) => number {
  return (a, b) => Number(first.has(b)) - Number(first.has(a)) || (a < b ? -1 : 1);
}

/** Resolves to who holds it; empty: it was dropped. */
async function expireDay(
  client: pg.Client,
  day: string,
  attached: readonly DayPartition[],
  decided: boolean,
  { refundWindowDays, now, logger, pauseMs = PAUSE_MS, signal }: ExpireOptions,
): Promise<readonly Holder[]> {
  const refundableSince = now() - refundWindowDays * DAY_MS;
  if (!decided) {
    const { holders } = await look(client, day, refundableSince);
    if (holders.length > 0) return holders;
    await decide(client, day);
    // step: after a day's drop was decided
  }
  for (const table of dayTables) {
    const partition = attached.find((one) => one.table === table);
    if (partition === undefined) continue;
    await detach(client, partition);
    // step: after a table was detached
    await pause(pauseMs, undefined, signal === undefined ? {} : { signal });
  }
  const { holders, orders } = await look(client, day, refundableSince);
  if (holders.length > 0) {
    logger.warn({ day, holders }, 'a day is needed again: it is attached again');
    for (const table of [...dayTables].reverse())
      if (await exists(client, table, day)) await attach(client, table, day);
    await takeBackDecision(client, day);
    return holders;
  }
  await drop(client, day, orders);
  logger.info({ day, orders }, 'a day was dropped');
  return [];
}

/** Who holds the day. The cheap looks first; the tables are read whole only where nobody else holds it. */
async function look(
  client: pg.Client,
  day: string,
  refundableSince: number,
): Promise<{ holders: readonly Holder[]; orders: number }> {
  const hasOrders = await exists(client, 'orders', day);
  const holders = await readersBehind(client, day, hasOrders);
  const atWork = hasOrders ? await countAtWork(client, day) : 0;
  if (atWork > 0) holders.push({ who: 'orders', why: `${atWork} wait for a bank or a person` });
  if (holders.length > 0) return { holders, orders: 0 };
  const seen = hasOrders ? await lookAtAllOrders(client, day, refundableSince) : { orders: 0, open: 0, refundable: 0 };
  const attempts = (await exists(client, 'attempt', day)) ? await countAllOpenAttempts(client, day) : 0;
  if (seen.open > 0) holders.push({ who: 'orders', why: `${seen.open} are open` });
  if (attempts > 0) holders.push({ who: 'attempts', why: `${attempts} are open` });
  if (seen.refundable > 0) holders.push({ who: 'refund window', why: `${seen.refundable} can still be refunded` });
  return { holders, orders: seen.orders };
}

async function readersBehind(client: pg.Client, day: string, hasOrders: boolean): Promise<Holder[]> {
  const readers = await readReaders(client);
  if (!readers.some(({ who }) => who.startsWith('reader ')))
    return [{ who: 'no reader', why: 'nobody has said yet how far it is' }];
  const hasJournal = await exists(client, 'order_event', day);
  const behind: Holder[] = [];
  for (const { who, why, has } of readers) {
    const unread = hasJournal ? await isUnread(client, day, has) : hasOrders && (await isOrderUnread(client, day, has));
    if (unread) behind.push({ who, why });
  }
  return behind;
}

async function lookAtAllOrders(client: pg.Client, day: string, refundableSince: number): Promise<OrdersSeen> {
  let all: OrdersSeen = { orders: 0, open: 0, refundable: 0 };
  const blocks = await readBlocks(client, 'orders', day);
  for (let from = 0; from < blocks; from += RUN_BLOCKS) {
    const seen = await lookAtOrders(client, day, from, from + RUN_BLOCKS, refundableSince);
    all = {
      orders: all.orders + seen.orders,
      open: all.open + seen.open,
      refundable: all.refundable + seen.refundable,
    };
  }
  return all;
}

async function countAllOpenAttempts(client: pg.Client, day: string): Promise<number> {
  let open = 0;
  const blocks = await readBlocks(client, 'attempt', day);
  for (let from = 0; from < blocks; from += RUN_BLOCKS)
    open += await countOpenAttempts(client, day, from, from + RUN_BLOCKS);
  return open;
}

async function connect({ databaseUrl, lockTimeoutMs = LOCK_TIMEOUT_MS }: ExpireOptions): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: 'collection days',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    query_timeout: STATEMENT_TIMEOUT_MS + SILENCE_MARGIN_MS,
    options: `-c lock_timeout=${lockTimeoutMs} -c statement_timeout=${STATEMENT_TIMEOUT_MS} -c enable_seqscan=off -c jit=off`,
  });
  client.on('error', () => undefined); // the next statement on it fails, and is handled there
  await client.connect();
  return client;
}
