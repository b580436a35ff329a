// Single-row statements on orders: look-ups, the void, the closing of its window, and the second attempt elsewhere.
// Every statement is its own transaction (autocommit) on knex's pool; none is on the path of an ordinary payment.
import type { Knex } from 'knex';

export interface OrderRow {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly terminal_id: string;
  readonly livemode: boolean;
  readonly status: string;
  readonly amount: bigint;
  readonly currency: string;
  readonly approved_amount: bigint | null;
  readonly method: string;
  readonly channel: string;
  readonly batch_number: string;
  readonly trace_number: string;
  readonly merchant_reference: string | null;
  readonly instrument_fingerprint: Buffer;
  readonly card_bin: string | null;
  readonly card_last_four: string | null;
  readonly user_id: string | null;
  readonly discounts: unknown;
  readonly business_date: string;
  readonly accepted_at: string;
  readonly approve_until: string;
  readonly version: number;
  readonly attempt_no: number;
  readonly lease_owner: string;
  readonly lease_epoch: number;
  readonly void_requested: boolean;
  readonly window_closed: boolean;
  readonly decline_code: string | null;
  readonly answer: string | null;
  readonly answer_status: string | null;
  readonly rrn: string | null;
  readonly authorization_code: string | null;
}

export const ORDER = `o.merchant_id, o.order_id, o.terminal_id, o.livemode, o.status, o.version, o.attempt_no,
  o.amount, o.currency, o.approved_amount, o.method, o.channel, o.batch_number, o.trace_number, o.merchant_reference,
  o.instrument_fingerprint, o.card_bin, o.card_last_four, o.user_id, o.discounts,
  to_char(o.business_date, 'YYYY-MM-DD') as business_date,
  rfc3339(o.accepted_at) as accepted_at, rfc3339(o.approve_until) as approve_until, o.lease_owner, o.lease_epoch,
  o.void_requested, o.window_closed, o.decline_code, o.answer, o.answer_status, a.rrn, a.authorization_code`;

/** The bounds prune: both tables are read in the order's own partition only. */
const WITH_LAST_ATTEMPT = `left join attempt a on a.merchant_id = o.merchant_id and a.order_id = o.order_id
    and a.order_id = :orderId and a.attempt_no = o.attempt_no`;

/** By the whole primary key. No lock. */
export async function findOrder(knex: Knex, merchantId: string, orderId: string): Promise<OrderRow | undefined> {
  const { rows } = await knex.raw(
    `select ${ORDER} from orders o ${WITH_LAST_ATTEMPT} where o.merchant_id = :merchantId and o.order_id = :orderId`,
    { merchantId, orderId },
  );
  return rows[0];
}

export interface VoidResult {
  readonly before: string;
  readonly status: string;
}

/**
 * A void of an order that exists. The row is locked first and the clock read after the lock, so the window is judged at
 * the moment the void takes effect. Undefined: the order stands where no void has an effect (the caller looks again).
 * A watermark that has told refund that the window is over stands above a clock that went back (index:
 * journal_watermark_value): refund owns the order by then.
 * An order that goes to `reversing` without a final answer gets `not_completed`. `attemptNo` is the last attempt of the
 * row that was looked at: another one begun since is not in this statement's snapshot, although its order's row would be.
 */
export async function voidOrder(
  knex: Knex,
  v: { merchantId: string; orderId: string; attemptNo: number; answer: string; traceparent: string | null },
): Promise<VoidResult | undefined> {
  const { rows } = await knex.raw(
    `with locked as (
       select status as before, voidable_until, window_closed from orders
       where merchant_id = :merchantId and order_id = :orderId for update
     ), moved as (
       update orders o set
         status = case o.status when 'processing' then 'processing' else 'reversing' end,
         version = o.version + 1,
         void_requested = true,
         answer = case o.status when 'processing' then o.answer else coalesce(o.answer, :answer) end,
         answer_status = case o.status when 'processing' then o.answer_status else coalesce(o.answer_status, 'not_completed') end,
         work = case o.status when 'processing' then o.work else 'reverse' end,
         lease_epoch = case o.status when 'processing' then o.lease_epoch else o.lease_epoch + 1 end,
         lease_until = case o.status when 'processing' then o.lease_until else clock_timestamp() end
       from locked
       where o.merchant_id = :merchantId and o.order_id = :orderId and o.attempt_no = :attemptNo
         and (o.status = 'in_doubt'
           or o.status = 'processing' and not o.void_requested
           or o.status = 'approved' and not o.window_closed and clock_timestamp() < locked.voidable_until
             and not exists (select from journal_watermark w where w.value >= locked.voidable_until))
       returning o as o, locked.before
     ), tried as (
       update attempt a set
         state = case (m.o).status when 'reversing' then 'reversing' else a.state end,
         tries = case (m.o).status when 'reversing' then 0 else a.tries end
       from moved m
       where a.merchant_id = :merchantId and a.order_id = :orderId and a.attempt_no = (m.o).attempt_no
       returning m.o as o, m.before, a as a
     ), closed as (
       update person_case c set closed_at = clock_timestamp(), closed_by = 'terminal', action = 'voided' from moved m
       where c.merchant_id = :merchantId and c.order_id = :orderId and c.closed_at is null
         and (m.o).status = 'reversing'
     ), journal as (
       insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
       select (o).merchant_id, (o).order_id, (o).version,
         case (o).status when 'reversing' then 'reversing' else 'void_requested' end, (o).livemode,
         (select generation from source_generation), :traceparent, order_state(o, a)
       from tried
       returning order_id
     )
     select before, (o).status as status,
       assert_same_count((select count(*) from moved), (select count(*) from journal)) as rows
     from moved`,
    v,
  );
  return rows[0];
}

/**
 * Closes the window in which collection may undo the order, so that refund may own it: an event, and from then on no void
 * (whichever of the two is first under the row's lock wins). Undefined: closed already, or nothing that could be refunded.
 */
export async function closeWindowOf(
  knex: Knex,
  merchantId: string,
  orderId: string,
  traceparent: string | null,
): Promise<{ version: number } | undefined> {
  const { rows } = await knex.raw(
    `with moved as (
       update orders o set window_closed = true, version = o.version + 1
       where o.merchant_id = :merchantId and o.order_id = :orderId and not o.window_closed
         and o.status in ('approved', 'reversal_refused')
       returning o as o
     ), journal as (
       insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
       select (o).merchant_id, (o).order_id, (o).version, 'window_closed', (o).livemode,
         (select generation from source_generation), :traceparent, order_state(o, a)
       from moved join attempt a on a.merchant_id = :merchantId and a.order_id = :orderId
         and a.attempt_no = (o).attempt_no
       returning version
     )
     select (o).version, assert_same_count((select count(*) from moved), (select count(*) from journal)) as rows
     from moved`,
    { merchantId, orderId, traceparent },
  );
  return rows[0];
}

/** A further attempt at another channel, and why the one before it sent nothing. */
export interface NextAttempt {
  readonly merchantId: string;
  readonly orderId: string;
  readonly leaseOwner: string;
  readonly leaseEpoch: number;
  /** The attempt that ended without sending. */
  readonly attemptNo: number;
  readonly reason: string;
  readonly channel: string;
  readonly bankReference: string;
  readonly bankMerchantNumber: string;
  readonly bankTerminalNumber: string;
  /** From the statement until the terminal's deadline, in ms. */
  readonly remainingMs: number;
  readonly traceparent: string | null;
}

/**
 * The next attempt, with a reference of its own, committed before it is sent. Only while the order is still ours, nobody
 * wishes to void it, and its lease runs. Two events: what became of the attempt before it, and the new one. False: none of
 * it happened.
 */
export async function beginNextAttempt(knex: Knex, next: NextAttempt): Promise<boolean> {
  const { rows } = await knex.raw(
    `with moved as (
       update orders o set version = o.version + 2, attempt_no = o.attempt_no + 1, channel = :channel
       where o.merchant_id = :merchantId and o.order_id = :orderId and o.status = 'processing'
         and o.lease_owner = :leaseOwner and o.lease_epoch = :leaseEpoch and o.attempt_no = :attemptNo
         and not o.void_requested and o.lease_until > clock_timestamp()
       returning o as o
     ), ended as (
       update attempt a set state = 'not_sent', reason = :reason from moved
       where a.merchant_id = :merchantId and a.order_id = :orderId and a.attempt_no = :attemptNo
       returning a as a
     ), sent as (
       insert into attempt (merchant_id, order_id, attempt_no, state, channel, bank_reference, bank_merchant_number,
         bank_terminal_number, amount, currency, livemode, last_send_at)
       select (o).merchant_id, (o).order_id, (o).attempt_no, 'sent', :channel, :bankReference, :bankMerchantNumber,
         :bankTerminalNumber, (o).amount, (o).currency, (o).livemode, now() + :remainingMs * interval '1 ms'
       from moved
       returning attempt as a
     ), journal as (
       insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
       select (o).merchant_id, (o).order_id, (o).version - 1, 'attempt_changed', (o).livemode,
         (select generation from source_generation), :traceparent,
         order_state(o, a) || jsonb_build_object('version', (o).version - 1, 'channel', (a).channel)
       from moved join ended on true
       union all
       select (o).merchant_id, (o).order_id, (o).version, 'attempt_changed', (o).livemode,
         (select generation from source_generation), :traceparent, order_state(o, a)
       from moved join sent on true
       returning order_id
     )
     select assert_same_count(2, (select count(*) from journal)) as rows from moved`,
    { ...next },
  );
  return rows.length === 1;
}

/** How many orders are in doubt, those with a person included, and the age of the oldest in seconds. Index orders_work. */
export async function countInDoubt(knex: Knex): Promise<{ count: number; oldestSeconds: number }> {
  const { rows } = await knex.raw(
    `select count(*)::int as count, coalesce(extract(epoch from clock_timestamp() - min(accepted_at)), 0)::float8 as oldest
     from (
       select accepted_at from orders where work = 'inquire' and status = 'in_doubt'
       union all
       select o.accepted_at from person_case c
       join orders o on o.merchant_id = c.merchant_id and o.order_id = c.order_id
       where c.closed_at is null and o.status = 'in_doubt'
     ) open`,
  );
  return { count: rows[0].count, oldestSeconds: rows[0].oldest };
}
