// Statements on payment_key: the two identities of a payment, and the void that came first. Autocommit, on knex's pool;
// none is on the path of an ordinary payment.
import type { Knex } from 'knex';

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

/** The same void again: its number is held from now on anew. False: its payment has come meanwhile. */
export async function holdNumberOn(knex: Knex, merchantId: string, traceHash: string): Promise<boolean> {
  const { rows } = await knex.raw(
    `update payment_key set created_at = now() where merchant_id = ? and trace_hash = ? and order_id is null
     returning merchant_id`,
    [merchantId, traceHash],
  );
  return rows.length === 1;
}

const UNIQUE_VIOLATION = '23505';

/** The columns of a payment that arrived after its void. */
export interface CancelledPayment {
  readonly merchantId: string;
  readonly orderId: string;
  readonly keyHash: string;
  readonly traceHash: string;
  readonly similarHash: string | null;
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
 * `cancelled`, with its answer, in the same statement: no attempt, nothing sent. The key is kept from now on, not from the
 * void's time. False: another copy of it was first, or its key belongs to another row.
 */
export async function takeOverVoid(
  knex: Knex,
  p: CancelledPayment,
  acceptedAt: string,
  answer: string,
): Promise<boolean> {
  const taking = knex.raw(
    `with taken as (
       update payment_key set key_hash = :keyHash, similar_hash = :similarHash, order_id = :orderId, created_at = now()
       where merchant_id = :merchantId and trace_hash = :traceHash and order_id is null
       returning merchant_id
     ), stored as (
       insert into orders (merchant_id, order_id, terminal_id, livemode, status, version, amount, currency, method,
         channel, batch_number, trace_number, merchant_reference, instrument_fingerprint, card_bin, card_last_four,
         user_id, device, discounts, transaction_time, accepted_at, approve_until, voidable_until, business_date,
         attempt_no, lease_owner, lease_epoch, lease_until, void_requested, answer, answer_status)
       select :merchantId, :orderId, :terminalId, :livemode, 'cancelled', 1, :amount, :currency, :method,
         :channel, :batchNumber, :traceNumber, :merchantReference, :fingerprint, :cardBin, :cardLastFour,
         :userId, :device, :discounts, :transactionTime, :acceptedAt, :acceptedAt, :acceptedAt, :businessDate,
         0, :leaseOwner, 1, :acceptedAt, true, :answer, 'cancelled'
       from taken
       returning orders as o
     ), journal as (
       insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
       select (o).merchant_id, (o).order_id, 1, 'cancelled', (o).livemode, (select generation from source_generation),
         :traceparent, order_state(o, null::attempt)
       from stored
       returning order_id
     )
     select assert_same_count((select count(*) from taken), (select count(*) from journal)) as rows from taken`,
    { ...p, acceptedAt, answer },
  );
  try {
    return (await taking).rows.length === 1;
  } catch (error) {
    if ((error as { code?: string }).code === UNIQUE_VIOLATION) return false;
    throw error;
  }
}
