// The two commits of a payment, as batch statements of the group commit. Single-row statements are in keys.sql.ts,
// orders.sql.ts, leases.sql.ts and moves.sql.ts. Locks: each statement locks the rows of its own keys only, in key order;
// indexes: the primary keys.
//
// Both join by the whole key, carried through the input, and `learn` bounds order_id by the batch's least and greatest:
// without the bounds, 400 partitions make an update ten times dearer (docs/decisions/0004-partitions-through-the-id.md).
import { type ArrayType, arrayParameter, type BatchStatement } from '@ballast/database';
import type { Learning } from './payment.ts';

/** Everything commit 1 stores: key, order `processing`, attempt `sent` with our own reference, event 1. */
export interface NewPayment {
  readonly merchantId: string;
  readonly orderId: string;
  readonly keyHash: string;
  readonly traceHash: string;
  /** Null: suspected duplicates are not looked for. */
  readonly similarHash: string | null;
  /** The order that this request says it knowingly repeats. */
  readonly confirmedDuplicateOf: string | null;
  readonly terminalId: string;
  readonly livemode: boolean;
  readonly amount: bigint;
  readonly currency: string;
  readonly method: 'card' | 'code';
  readonly channel: string;
  readonly batchNumber: string;
  readonly traceNumber: string;
  readonly merchantReference: string | null;
  readonly fingerprint: Buffer;
  readonly cardBin: string | null;
  readonly cardLastFour: string | null;
  readonly cardSealed: Buffer | null;
  readonly phoneSealed: Buffer | null;
  readonly userId: string | null;
  readonly device: string | null;
  readonly discounts: string | null;
  readonly transactionTime: string;
  readonly businessDate: string;
  /** From the statement's start until the terminal's deadline, in ms; the lease and approve_until count from it. */
  readonly remainingMs: number;
  readonly voidWindowMs: number;
  readonly leaseOwner: string;
  readonly bankReference: string;
  readonly bankMerchantNumber: string;
  readonly bankTerminalNumber: string;
  readonly traceparent: string | null;
}

export interface Accepted {
  readonly order_id: string;
  readonly accepted_at: string;
  readonly approve_until: string;
  /** Nothing was stored: this other order is like it, and the request did not say that it knows. */
  readonly similar_to: string | null;
}

/** The sender stops at the deadline; the lease outlives it by this much, so a resolver never overtakes a live sender. */
export const LEASE_MARGIN_MS = 5_000;
/** How long after the deadline a terminal that polls may still be told "approved". */
const APPROVE_GRACE_MS = 60_000;

type Columns<Row> = readonly (readonly [column: string, type: ArrayType, value: (row: Row) => unknown])[];

const newPaymentColumns: Columns<NewPayment> = [
  ['merchant_id', 'uuid', (p) => p.merchantId],
  ['order_id', 'uuid', (p) => p.orderId],
  ['key_hash', 'uuid', (p) => p.keyHash],
  ['trace_hash', 'uuid', (p) => p.traceHash],
  ['similar_hash', 'uuid', (p) => p.similarHash],
  ['confirmed_duplicate_of', 'uuid', (p) => p.confirmedDuplicateOf],
  ['terminal_id', 'uuid', (p) => p.terminalId],
  ['livemode', 'boolean', (p) => p.livemode],
  ['amount', 'bigint', (p) => p.amount],
  ['currency', 'text', (p) => p.currency],
  ['method', 'text', (p) => p.method],
  ['channel', 'text', (p) => p.channel],
  ['batch_number', 'text', (p) => p.batchNumber],
  ['trace_number', 'text', (p) => p.traceNumber],
  ['merchant_reference', 'text', (p) => p.merchantReference],
  ['fingerprint', 'bytea', (p) => p.fingerprint],
  ['card_bin', 'text', (p) => p.cardBin],
  ['card_last_four', 'text', (p) => p.cardLastFour],
  ['card_sealed', 'bytea', (p) => p.cardSealed],
  ['phone_sealed', 'bytea', (p) => p.phoneSealed],
  ['user_id', 'text', (p) => p.userId],
  ['device', 'text', (p) => p.device],
  ['discounts', 'text', (p) => p.discounts],
  ['transaction_time', 'timestamptz', (p) => p.transactionTime],
  ['business_date', 'text', (p) => p.businessDate],
  ['remaining_ms', 'integer', (p) => p.remainingMs],
  ['void_window_ms', 'bigint', (p) => p.voidWindowMs],
  ['lease_owner', 'text', (p) => p.leaseOwner],
  ['bank_reference', 'text', (p) => p.bankReference],
  ['bank_merchant_number', 'text', (p) => p.bankMerchantNumber],
  ['bank_terminal_number', 'text', (p) => p.bankTerminalNumber],
  ['traceparent', 'text', (p) => p.traceparent],
];

const ORDER_COLUMNS = `merchant_id, order_id, terminal_id, livemode, status, version, amount, currency, method, channel,
    batch_number, trace_number, merchant_reference, instrument_fingerprint, card_bin, card_last_four, card_sealed,
    phone_sealed, user_id, device, discounts, transaction_time, accepted_at, approve_until, voidable_until,
    business_date, attempt_no, work, lease_owner, lease_epoch, lease_until`;

const ORDER_VALUES = `i.merchant_id, i.order_id, i.terminal_id, i.livemode, 'processing', 1, i.amount, i.currency,
    i.method, i.channel, i.batch_number, i.trace_number, i.merchant_reference, i.fingerprint, i.card_bin,
    i.card_last_four, i.card_sealed, i.phone_sealed, i.user_id, i.device::jsonb, i.discounts::jsonb,
    i.transaction_time, now(), now() + (i.remaining_ms + ${APPROVE_GRACE_MS}) * interval '1 ms',
    now() + i.void_window_ms * interval '1 ms', i.business_date::date, 1, 'inquire', i.lease_owner, 1,
    now() + (i.remaining_ms + ${LEASE_MARGIN_MS}) * interval '1 ms'`;

/** An id further than this from the database's time would land in the wrong partition: refused, alone. */
const MAX_ID_SKEW = "interval '10 minutes'";

const NO_SUSPECTS = 'select null::uuid as order_id, null::uuid as similar_to where false';

/**
 * A payment is like another when terminal, card and amount are the same, both their identities differ, and the other is
 * younger than the window and may stand. Index: payment_key_similar, then the orders' primary key within the bounds.
 */
function suspectsWithin(windowMs: number): string {
  const from = newPaymentColumns.length + 1;
  return `select i.order_id, s.order_id as similar_to from i cross join lateral (
      select k.order_id from payment_key k
      join orders o on o.merchant_id = k.merchant_id and o.order_id = k.order_id
        and o.order_id >= $${from}::uuid and o.order_id <= $${from + 1}::uuid
      where k.merchant_id = i.merchant_id and k.similar_hash = i.similar_hash
        and k.key_hash <> i.key_hash and k.trace_hash <> i.trace_hash
        and k.created_at > now() - ${windowMs} * interval '1 ms'
        and o.status in ('processing', 'in_doubt', 'approved', 'reversal_refused')
      order by k.order_id desc limit 1
    ) s
    where i.similar_hash is not null and s.order_id is distinct from i.confirmed_duplicate_of`;
}

/**
 * Commit 1. The key row is taken whole or not at all; order, attempt and event follow only for key rows returned, so a
 * second copy of a request, in this batch or any other, leaves nothing. A row not returned is a known key or number.
 * With a window for suspected duplicates, a suspected row takes no key and comes back naming the order it is like.
 */
export function insertPayments(duplicateWindowMs: number): BatchStatement<NewPayment, Accepted> {
  const looksForSimilar = duplicateWindowMs > 0;
  return {
    name: 'insert_payments',
    text: `
  with i as materialized (${inputOf(newPaymentColumns)}),
  suspect as materialized (${looksForSimilar ? suspectsWithin(duplicateWindowMs) : NO_SUSPECTS}),
  keys as (
    insert into payment_key (merchant_id, key_hash, trace_hash, similar_hash, order_id)
    select merchant_id, key_hash, trace_hash, similar_hash, order_id from i
    where order_id not in (select order_id from suspect)
      and uuid_extract_timestamp(order_id) between now() - ${MAX_ID_SKEW} and now() + ${MAX_ID_SKEW}
    on conflict do nothing
    returning merchant_id, order_id
  ), accepted as (
    insert into orders (${ORDER_COLUMNS})
    select ${ORDER_VALUES} from i join keys k on k.merchant_id = i.merchant_id and k.order_id = i.order_id
    returning orders as o
  ), sent as (
    insert into attempt (merchant_id, order_id, attempt_no, state, channel, bank_reference, bank_merchant_number,
      bank_terminal_number, amount, currency, livemode, last_send_at)
    select i.merchant_id, i.order_id, 1, 'sent', i.channel, i.bank_reference, i.bank_merchant_number,
      i.bank_terminal_number, i.amount, i.currency, i.livemode, now() + i.remaining_ms * interval '1 ms'
    from i join keys k on k.merchant_id = i.merchant_id and k.order_id = i.order_id
    returning attempt as a
  ), journal as (
    insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
    select (o).merchant_id, (o).order_id, 1, 'accepted', (o).livemode, (select generation from source_generation),
      i.traceparent, order_state(o, a)
    from accepted
    join sent on (a).merchant_id = (o).merchant_id and (a).order_id = (o).order_id
    join i on i.merchant_id = (o).merchant_id and i.order_id = (o).order_id
    returning order_id
  )
  select (o).order_id, rfc3339((o).accepted_at) as accepted_at, rfc3339((o).approve_until) as approve_until,
    null::uuid as similar_to, assert_same_count((select count(*) from keys), (select count(*) from journal)) as rows
  from accepted
  union all
  select order_id, null, null, similar_to, 0 from suspect`,
    params: (rows) => {
      const values: unknown[] = parametersOf(newPaymentColumns, rows);
      if (!looksForSimilar) return values;
      const ids = rows.map((row) => row.orderId).sort();
      return [...values, firstIdBefore(ids[0] ?? '', duplicateWindowMs + LARGEST_SKEW_MS), ids.at(-1)];
    },
    keyOf: (row) => row.orderId,
    returnedKeyOf: (returned) => returned.order_id,
  };
}

/** Instances' ids differ by as much as their measurements of the database's clock. */
const LARGEST_SKEW_MS = 1_000;

/** The least UUIDv7 of the moment `ms` before the one that `id` begins with. */
export function firstIdBefore(id: string, ms: number): string {
  const at = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) - ms;
  const hex = at.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** Something learnt about an attempt by whoever holds the order's lease, with the answers it may lead to. */
export interface Learnt {
  readonly merchantId: string;
  readonly orderId: string;
  readonly attemptNo: number;
  readonly leaseOwner: string;
  readonly leaseEpoch: number;
  readonly learning: Learning;
  readonly approvedAmount: bigint | null;
  readonly declineCode: string | null;
  readonly reason: string | null;
  readonly rrn: string | null;
  readonly authorizationCode: string | null;
  readonly bankCode: string | null;
  /** Masked request and response, JSON text. */
  readonly evidence: string | null;
  /** The answer where the bank's word stands (approved or declined). */
  readonly answerAsLearnt: string | null;
  readonly answerNotCompleted: string | null;
  readonly answerCancelled: string | null;
  readonly traceparent: string | null;
}

export interface Moved {
  readonly order_id: string;
  readonly status: string;
  readonly answer: string | null;
  readonly answer_status: string | null;
}

/** First inquiry this long after an order fell in doubt: the bank may still be writing its own books. */
const FIRST_INQUIRY_MS = 1_000;

const learntColumns: Columns<Learnt> = [
  ['merchant_id', 'uuid', (l) => l.merchantId],
  ['order_id', 'uuid', (l) => l.orderId],
  ['attempt_no', 'integer', (l) => l.attemptNo],
  ['lease_owner', 'text', (l) => l.leaseOwner],
  ['lease_epoch', 'integer', (l) => l.leaseEpoch],
  ['learning', 'text', (l) => l.learning],
  ['approved_amount', 'bigint', (l) => l.approvedAmount],
  ['decline_code', 'text', (l) => l.declineCode],
  ['reason', 'text', (l) => l.reason],
  ['rrn', 'text', (l) => l.rrn],
  ['authorization_code', 'text', (l) => l.authorizationCode],
  ['bank_code', 'text', (l) => l.bankCode],
  ['evidence', 'text', (l) => l.evidence],
  ['answer_as_learnt', 'text', (l) => l.answerAsLearnt],
  ['answer_not_completed', 'text', (l) => l.answerNotCompleted],
  ['answer_cancelled', 'text', (l) => l.answerCancelled],
  ['traceparent', 'text', (l) => l.traceparent],
];

const AFTER = `order_after(o.status, i.learning, o.void_requested, i.learnt_at > o.approve_until,
      i.approved_amount is distinct from o.amount)`;

/**
 * Commit 2, and every later learning. The order's row is moved first, guarded on it alone (owner, epoch, a legal move);
 * attempt, stored answer and event follow from the rows it returned. `learnt_at` is read once for the batch, so that the
 * decision and the answer cannot disagree about whether approve_until had passed. What the bank will not give back is
 * listed with a person: the order is final, but somebody must see it.
 */
export const learn: BatchStatement<Learnt, Moved> = {
  name: 'learn',
  text: `
  with i as materialized (${inputOf(learntColumns, 'clock_timestamp() as learnt_at')}),
  moved as (
    update orders o set
      status = ${AFTER},
      version = o.version + 1,
      approved_amount = coalesce(i.approved_amount, o.approved_amount),
      decline_code = coalesce(i.decline_code, o.decline_code),
      reason = coalesce(i.reason, o.reason),
      answer = coalesce(o.answer, case ${AFTER}
        when 'approved' then i.answer_as_learnt when 'declined' then i.answer_as_learnt
        when 'cancelled' then i.answer_cancelled
        when 'not_completed' then i.answer_not_completed when 'reversing' then i.answer_not_completed end),
      answer_status = coalesce(o.answer_status, case ${AFTER}
        when 'approved' then 'approved' when 'declined' then 'declined' when 'cancelled' then 'cancelled'
        when 'not_completed' then 'not_completed' when 'reversing' then 'not_completed' end),
      work = case ${AFTER} when 'in_doubt' then 'inquire' when 'reversing' then 'reverse' end,
      lease_until = case ${AFTER}
        when 'in_doubt' then i.learnt_at + interval '${FIRST_INQUIRY_MS} ms'
        when 'reversing' then i.learnt_at else o.lease_until end
    from i
    where o.merchant_id = i.merchant_id and o.order_id = i.order_id
      and o.order_id >= $${learntColumns.length + 1} and o.order_id <= $${learntColumns.length + 2}
      and o.lease_owner = i.lease_owner and o.lease_epoch = i.lease_epoch and o.attempt_no = i.attempt_no
      and ${AFTER} is not null
    returning o as o, i.attempt_no, i.learning, i.approved_amount, i.rrn, i.authorization_code, i.bank_code, i.reason,
      i.evidence, i.traceparent
  ), tried as (
    update attempt a set
      state = case (m.o).status when 'cancelled' then 'not_sent'
        when 'not_completed' then m.learning else (m.o).status end,
      tries = case (m.o).status when 'reversing' then 0 else a.tries end,
      approved_amount = coalesce(m.approved_amount, a.approved_amount),
      rrn = coalesce(m.rrn, a.rrn),
      authorization_code = coalesce(m.authorization_code, a.authorization_code),
      bank_code = coalesce(m.bank_code, a.bank_code),
      reason = coalesce(m.reason, a.reason),
      evidence = coalesce(m.evidence::jsonb, a.evidence)
    from moved m
    where a.merchant_id = (m.o).merchant_id and a.order_id = (m.o).order_id and a.attempt_no = m.attempt_no
      and a.order_id >= $${learntColumns.length + 1} and a.order_id <= $${learntColumns.length + 2}
    returning m.o as o, a as a, m.traceparent
  ), opened as (
    insert into person_case (merchant_id, order_id, version, attempt_no, channel, reason, evidence)
    select (o).merchant_id, (o).order_id, (o).version, (a).attempt_no, (a).channel, coalesce((a).reason, 'unknown'),
      (a).evidence
    from tried where (a).state = 'reversal_refused'
  ), journal as (
    insert into order_event (merchant_id, order_id, version, type, livemode, generation, traceparent, data)
    select (o).merchant_id, (o).order_id, (o).version, (o).status, (o).livemode,
      (select generation from source_generation), traceparent, order_state(o, a)
    from tried
    returning order_id
  )
  select (o).order_id, (o).status, (o).answer, (o).answer_status,
    assert_same_count((select count(*) from moved), (select count(*) from journal)) as rows
  from moved`,
  params: (rows) => {
    // Lower-case hyphenated UUIDs sort as text exactly as they sort as uuid.
    const ids = rows.map((row) => row.orderId).sort();
    return [...parametersOf(learntColumns, rows), ids[0], ids.at(-1)];
  },
  keyOf: (row) => row.orderId,
  returnedKeyOf: (returned) => returned.order_id,
};

function parametersOf<Row>(columns: Columns<Row>, rows: readonly Row[]): unknown[] {
  return columns.map(([, type, value]) => arrayParameter(type, rows.map(value)));
}

/** `select t.* from unnest($1::uuid[], …) as t(merchant_id, …)`: one array per column, one row per payment. */
function inputOf<Row>(columns: Columns<Row>, extra?: string): string {
  const arrays = columns.map(([, type], index) => `$${index + 1}::${type}[]`).join(', ');
  const names = columns.map(([name]) => name).join(', ');
  return `select t.*${extra === undefined ? '' : `, ${extra}`} from unnest(${arrays}) as t(${names})`;
}
