// Single-row statements on orders: look-ups, the void, the void that came first, and the resolver's lease.
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
  readonly lease_owner: string;
  readonly lease_epoch: number;
  readonly void_requested: boolean;
  readonly decline_code: string | null;
  readonly answer: string | null;
  readonly answer_status: string | null;
  readonly rrn: string | null;
  readonly authorization_code: string | null;
}

const ORDER = `o.merchant_id, o.order_id, o.terminal_id, o.livemode, o.status, o.amount, o.currency, o.approved_amount,
  o.method, o.channel, o.batch_number, o.trace_number, o.merchant_reference, o.instrument_fingerprint, o.card_bin,
  o.card_last_four, o.user_id, o.discounts, to_char(o.business_date, 'YYYY-MM-DD') as business_date,
  rfc3339(o.accepted_at) as accepted_at, rfc3339(o.approve_until) as approve_until, o.lease_owner, o.lease_epoch,
  o.void_requested, o.decline_code, o.answer, o.answer_status, a.rrn, a.authorization_code`;

const WITH_LAST_ATTEMPT = `left join lateral (
    select rrn, authorization_code from attempt a
    where a.merchant_id = o.merchant_id and a.order_id = o.order_id order by a.attempt_no desc limit 1
  ) a on true`;

/** By the whole primary key. No lock. */
export async function findOrder(knex: Knex, merchantId: string, orderId: string): Promise<OrderRow | undefined> {
  const { rows } = await knex.raw(
    `select ${ORDER} from orders o ${WITH_LAST_ATTEMPT} where o.merchant_id = ? and o.order_id = ?`,
    [merchantId, orderId],
  );
  return rows[0];
}

export interface KnownKey {
  readonly key_hash: string;
  readonly trace_hash: string;
  /** Null: a void that came before its payment holds the number. */
  readonly order_id: string | null;
}

/** Both identities of a payment, by the two unique indexes; at most two rows. No lock. */
export async function findKeys(
  knex: Knex,
  merchantId: string,
  keyHash: string,
  traceHash: string,
): Promise<KnownKey[]> {
  const { rows } = await knex.raw(
    `select key_hash, trace_hash, order_id from payment_key where merchant_id = ? and key_hash = ?
     union
     select key_hash, trace_hash, order_id from payment_key where merchant_id = ? and trace_hash = ?`,
    [merchantId, keyHash, merchantId, traceHash],
  );
  return rows;
}

/** The order a terminal's own number names. No lock. */
export async function findKeyByTrace(knex: Knex, merchantId: string, traceHash: string): Promise<KnownKey | undefined> {
  const { rows } = await knex.raw(
    'select key_hash, trace_hash, order_id from payment_key where merchant_id = ? and trace_hash = ?',
    [merchantId, traceHash],
  );
  return rows[0];
}

/** A void before its payment takes the key row of that number. False: somebody holds it already. */
export async function holdNumberForVoid(
  knex: Knex,
  merchantId: string,
  keyHash: string,
  traceHash: string,
): Promise<boolean> {
  const { rows } = await knex.raw(
    `insert into payment_key (merchant_id, key_hash, trace_hash) values (?, ?, ?)
     on conflict do nothing returning merchant_id`,
    [merchantId, keyHash, traceHash],
  );
  return rows.length === 1;
}

/** The columns of a payment that arrived after its void. */
export interface CancelledPayment {
  readonly merchantId: string;
  readonly orderId: string;
  readonly keyHash: string;
  readonly traceHash: string;
  readonly terminalId: string;
  readonly livemode: boolean;
  readonly amount: bigint;
  readonly currency: string;
  readonly method: string;
  readonly channel: string;
  readonly batchNumber: string;
  readonly traceNumber: string;
  readonly merchantReference: string | null;
  readonly fingerprint: Buffer;
  readonly cardBin: string | null;
  readonly cardLastFour: string | null;
  readonly userId: string | null;
  readonly device: string | null;
  readonly discounts: string | null;
  readonly transactionTime: string;
  readonly businessDate: string;
  readonly leaseOwner: string;
  readonly traceparent: string | null;
}

/**
 * The payment that a void was waiting for takes over the void's key row (guard: it has no order yet) and is stored
 * `cancelled`, with its answer, in the same statement: no attempt, nothing sent. False: another copy of it was first.
 */
export async function takeOverVoid(
  knex: Knex,
  p: CancelledPayment,
  acceptedAt: string,
  answer: string,
): Promise<boolean> {
  const { rows } = await knex.raw(
    `with taken as (
       update payment_key set key_hash = :keyHash, order_id = :orderId
       where merchant_id = :merchantId and trace_hash = :traceHash and order_id is null
       returning merchant_id
     ), stored as (
       insert into orders (merchant_id, order_id, terminal_id, livemode, status, version, amount, currency, method,
         channel, batch_number, trace_number, merchant_reference, instrument_fingerprint, card_bin, card_last_four,
         user_id, device, discounts, transaction_time, accepted_at, approve_until, voidable_until, business_date,
         lease_owner, lease_epoch, lease_until, void_requested, answer, answer_status)
       select :merchantId, :orderId, :terminalId, :livemode, 'cancelled', 1, :amount, :currency, :method,
         :channel, :batchNumber, :traceNumber, :merchantReference, :fingerprint, :cardBin, :cardLastFour,
         :userId, :device, :discounts, :transactionTime, :acceptedAt, :acceptedAt, :acceptedAt, :businessDate,
         :leaseOwner, 1, :acceptedAt, true, :answer, 'cancelled'
       from taken
       returning orders as o
     ), journal as (
       insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
       select (o).merchant_id, (o).order_id, 1, 'cancelled', (o).livemode, (select generation from source_generation),
         :traceparent, order_state(o, null::attempt)
       from stored
       returning order_id
     )
     select order_id from journal`,
    { ...p, acceptedAt, answer },
  );
  return rows.length === 1;
}

export interface VoidResult {
  readonly before: string;
  readonly status: string;
}

/**
 * A void of an order that exists. The row is locked first and the clock read after the lock, so the window is judged at
 * the moment the void takes effect. Undefined: the order stands where no void has an effect (the caller looks again).
 * An order that goes to `reversing` without a final answer gets `not_completed`.
 */
export async function voidOrder(
  knex: Knex,
  v: { merchantId: string; orderId: string; answer: string; traceparent: string | null },
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
         lease_epoch = case o.status when 'processing' then o.lease_epoch else o.lease_epoch + 1 end,
         lease_until = case o.status when 'processing' then o.lease_until else clock_timestamp() end
       from locked
       where o.merchant_id = :merchantId and o.order_id = :orderId
         and (o.status = 'in_doubt'
           or o.status = 'processing' and not o.void_requested
           or o.status = 'approved' and not o.window_closed and clock_timestamp() < locked.voidable_until)
       returning o as o, locked.before
     ), tried as (
       update attempt a set state = case (m.o).status when 'reversing' then 'reversing' else a.state end
       from moved m
       where a.merchant_id = :merchantId and a.order_id = :orderId
         and a.attempt_no = (select max(attempt_no) from attempt where merchant_id = :merchantId and order_id = :orderId)
       returning m.o as o, m.before, a as a
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
     from tried`,
    v,
  );
  return rows[0];
}

export interface Candidate {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly lease_epoch: number;
}

/** Open orders past their lease, oldest first, over all merchants; read without locks (index orders_open). */
export async function openOrders(knex: Knex, limit: number): Promise<Candidate[]> {
  const { rows } = await knex.raw(
    `select merchant_id, order_id, lease_epoch from orders
     where status in ('processing', 'in_doubt', 'reversing') and lease_until < clock_timestamp()
     order by lease_until limit ?`,
    [limit],
  );
  return rows;
}

export interface Leased extends OrderRow {
  readonly attempt_no: number;
  readonly state: string;
  readonly bank_reference: string;
  readonly bank_merchant_number: string;
  readonly bank_terminal_number: string;
  readonly tries: number;
  /** How long ago our last request could have left, in ms of the database's clock; negative: it still could. */
  readonly since_last_send_ms: number;
}

/** Takes one candidate under a new epoch, if nobody did meanwhile. The old holder's epoch no longer moves the order. */
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
         and lease_until < clock_timestamp() and status in ('processing', 'in_doubt', 'reversing')
       returning *
     )
     select ${ORDER}, a.attempt_no, a.state, a.bank_reference, a.bank_merchant_number, a.bank_terminal_number, a.tries,
       (extract(epoch from clock_timestamp() - a.last_send_at) * 1000)::float8 as since_last_send_ms
     from taken o join lateral (
       select * from attempt a where a.merchant_id = o.merchant_id and a.order_id = o.order_id
       order by a.attempt_no desc limit 1
     ) a on true`,
    { owner, leaseMs, merchantId: candidate.merchant_id, orderId: candidate.order_id, epoch: candidate.lease_epoch },
  );
  return rows[0];
}

/** Nothing new was learnt: the order stays as it is and is looked at again after `delayMs`. No event. */
export async function putBack(knex: Knex, leased: Leased, delayMs: number): Promise<void> {
  await knex.raw(
    `with back as (
       update orders set lease_until = clock_timestamp() + :delayMs * interval '1 ms'
       where merchant_id = :merchantId and order_id = :orderId and lease_owner = :owner and lease_epoch = :epoch
       returning merchant_id, order_id
     )
     update attempt a set tries = a.tries + 1 from back
     where a.merchant_id = back.merchant_id and a.order_id = back.order_id and a.attempt_no = :attemptNo`,
    {
      delayMs,
      merchantId: leased.merchant_id,
      orderId: leased.order_id,
      owner: leased.lease_owner,
      epoch: leased.lease_epoch,
      attemptNo: leased.attempt_no,
    },
  );
}

/** How many orders are in doubt, and the age of the oldest in seconds. Index orders_open. */
export async function countInDoubt(knex: Knex): Promise<{ count: number; oldestSeconds: number }> {
  const { rows } = await knex.raw(
    `select count(*)::int as count, coalesce(extract(epoch from clock_timestamp() - min(accepted_at)), 0)::float8 as oldest
     from orders where status = 'in_doubt'`,
  );
  return { count: rows[0].count, oldestSeconds: rows[0].oldest };
}
