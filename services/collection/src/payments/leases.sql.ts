// The resolver's lease on an order. Candidates are read without locks; each is then taken by a conditional update, so
// that several instances share the work and none repeats it: whoever comes second finds another epoch.
import type { Knex } from 'knex';
import { ORDER, type OrderRow } from './orders.sql.ts';

/**
 * No lease and no approve_until lies further ahead than two minutes (a deadline of one, a grace of one): what does was
 * stamped before the clock went back, or by a server whose clock was ahead. It is not waited for.
 */
const BEYOND = "interval '3 minutes'";
/** A request leaves within its terminal's deadline, however far ahead its last moment was stamped. */
export const LONGEST_DEADLINE_MS = 60_000;
/** Whatever our own policy says: what is put back for longer would look like another clock's. */
const LONGEST_PAUSE_MS = 60_000;

export type Work = 'inquire' | 'reverse';

/** One channel's inquiries or reversals: a line of its own. */
export interface Line {
  readonly channel: string;
  readonly work: Work;
}

export interface Candidate extends Line {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly lease_epoch: number;
}

/**
 * What is due on each of the lines, longest due first, over all merchants; no lock. Index orders_work, every partition. With
 * `beyond`, a second range of it too: leases that no clock of ours would give.
 */
export async function dueOrders(
  knex: Knex,
  lines: readonly Line[],
  limit: number,
  beyond: boolean,
): Promise<Candidate[]> {
  const ranges = ['o.lease_until < now()', ...(beyond ? [`o.lease_until > now() + ${BEYOND}`] : [])];
  const { rows } = await knex.raw(
    `select l.channel, l.work, c.merchant_id, c.order_id, c.lease_epoch
     from unnest(cast(:channels as text[]), cast(:works as text[])) as l(channel, work) cross join lateral (
       ${ranges.map(candidatesIn).join(' union all ')}
     ) c`,
    { channels: lines.map((line) => line.channel), works: lines.map((line) => line.work), limit },
  );
  return rows;
}

const candidatesIn = (range: string) => `(
  select merchant_id, order_id, lease_epoch from orders o
  where o.channel = l.channel and o.work = l.work and ${range} order by o.lease_until limit :limit)`;

export interface Leased extends OrderRow {
  readonly work: Work;
  readonly state: string;
  readonly bank_reference: string;
  readonly bank_merchant_number: string;
  readonly bank_terminal_number: string;
  /** Inquiries or reversals begun, this one included. */
  readonly tries: number;
  /** How long ago our last request could have left, in ms of the database's clock; negative: it still could. */
  readonly since_last_send_ms: number;
  /** The database's clock, ms since the epoch. */
  readonly taken_at_ms: number;
  /** The database's clock has passed approve_until, or is not the one that stamped it. */
  readonly late: boolean;
}

/**
 * Takes one candidate under a new epoch, if nobody did meanwhile: the old holder's epoch no longer moves the order. The
 * try is counted here, before the call, so that a reversal after a crash carries the repeat mark.
 */
export async function takeLease(
  knex: Knex,
  candidate: Candidate,
  owner: string,
  leaseMs: number,
): Promise<Leased | undefined> {
  const { rows } = await knex.raw(
    `with taken as (
       update orders set lease_owner = :owner, lease_epoch = lease_epoch + 1,
         lease_until = clock_timestamp() + :leaseMs * interval '1 ms'
       where merchant_id = :merchantId and order_id = :orderId and lease_epoch = :epoch
         and work is not null and (lease_until < clock_timestamp() or lease_until > clock_timestamp() + ${BEYOND})
       returning *
     ), a as (
       update attempt set tries = attempt.tries + 1,
         last_send_at = least(attempt.last_send_at, clock_timestamp() + ${LONGEST_DEADLINE_MS} * interval '1 ms')
       from taken
       where attempt.merchant_id = :merchantId and attempt.order_id = :orderId
         and attempt.attempt_no = taken.attempt_no
       returning attempt.*
     )
     select ${ORDER}, o.work, a.state, a.bank_reference, a.bank_merchant_number, a.bank_terminal_number, a.tries,
       (extract(epoch from clock_timestamp() - a.last_send_at) * 1000)::float8 as since_last_send_ms,
       (extract(epoch from clock_timestamp()) * 1000)::float8 as taken_at_ms,
       clock_timestamp() > o.approve_until or o.approve_until > clock_timestamp() + ${BEYOND} as late,
       assert_same_count((select count(*) from taken), (select count(*) from a)) as rows
     from taken o left join a on true`,
    { owner, leaseMs, merchantId: candidate.merchant_id, orderId: candidate.order_id, epoch: candidate.lease_epoch },
  );
  return rows[0];
}

/**
 * Nothing new was learnt: the order stays as it is and is looked at again after `delayMs`. No event. `unsent`: nothing left
 * for the bank, so the try does not count.
 */
export async function putBack(knex: Knex, leased: Leased, delayMs: number, unsent: boolean): Promise<void> {
  await knex.raw(
    `with back as (
       update orders set lease_until = clock_timestamp() + :delayMs * interval '1 ms'
       where merchant_id = :merchantId and order_id = :orderId and lease_owner = :owner and lease_epoch = :epoch
         and work = :work
       returning order_id
     )
     update attempt a set tries = a.tries - :uncounted from back
     where a.merchant_id = :merchantId and a.order_id = :orderId and a.attempt_no = :attemptNo`,
    {
      delayMs: Math.min(delayMs, LONGEST_PAUSE_MS),
      uncounted: unsent ? 1 : 0,
      work: leased.work,
      merchantId: leased.merchant_id,
      orderId: leased.order_id,
      owner: leased.lease_owner,
      epoch: leased.lease_epoch,
      attemptNo: leased.attempt_no,
    },
  );
}

export interface OpenOrders {
  readonly channel: string;
  readonly work: Work;
  readonly orders: bigint;
  readonly oldest_seconds: number;
}

/** What waits for the resolver, by channel; orders whose payment is still running are not among them. Index orders_work. */
export async function countOpenOrders(knex: Knex): Promise<OpenOrders[]> {
  const { rows } = await knex.raw(
    `select channel, work, count(*) as orders,
       extract(epoch from clock_timestamp() - min(accepted_at))::float8 as oldest_seconds
     from orders where work is not null and (status <> 'processing' or lease_until < now()
       or lease_until > now() + ${BEYOND})
     group by channel, work`,
  );
  return rows;
}
