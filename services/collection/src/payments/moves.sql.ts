// A move that was decided from a row read before, carried out only if that row is still the same: guarded on the order's
// version, which every move raises under the row's lock. For what is rare: late answers, people, what exhausted its tries.
// The ordinary learnings of the sender and the resolver are `learn` in payments.sql.ts.
import type { FinalAnswer, OrderStatus } from '@ballast/contracts';
import type { Knex } from 'knex';
import { ORDER, type OrderRow } from './orders.sql.ts';
import type { AttemptState } from './payment.ts';

export interface MovableRow extends OrderRow {
  readonly status: OrderStatus;
  readonly state: AttemptState;
  readonly attempt_channel: string;
  readonly bank_reference: string;
  readonly late: boolean;
}

/** The order and one of its attempts, in one snapshot. No lock. */
export async function findMovable(
  knex: Knex,
  merchantId: string,
  orderId: string,
  attemptNo: number,
): Promise<MovableRow | undefined> {
  const { rows } = await knex.raw(
    `select ${ORDER}, a.state, a.channel as attempt_channel, a.bank_reference,
       clock_timestamp() > o.approve_until as late
     from orders o join attempt a on a.merchant_id = :merchantId and a.order_id = :orderId and a.attempt_no = :attemptNo
     where o.merchant_id = :merchantId and o.order_id = :orderId`,
    { merchantId, orderId, attemptNo },
  );
  return rows[0];
}

export interface DecidedMove {
  readonly merchantId: string;
  readonly orderId: string;
  /** The version of the row that the decision was made from. */
  readonly version: number;
  /** The lease it was made under, where there is one. */
  readonly leaseOwner: string | null;
  readonly leaseEpoch: number | null;
  /** The same as before where only the attempt moves. */
  readonly order: OrderStatus;
  readonly eventType: string;
  readonly attemptNo: number;
  /** The same as before where an approval is kept with it. */
  readonly attempt: AttemptState;
  /** A person is to look at it from now on. */
  readonly opensCase: boolean;
  readonly work: 'inquire' | 'reverse' | null;
  readonly answer: string | null;
  readonly answerStatus: FinalAnswer | null;
  readonly approvedAmount: bigint | null;
  readonly declineCode: string | null;
  readonly rrn: string | null;
  readonly authorizationCode: string | null;
  readonly bankCode: string | null;
  readonly reason: string | null;
  readonly evidence: string | null;
  /** Who ends an open case by this move, how, and on what proof. */
  readonly closedBy: string | null;
  readonly action: string | null;
  readonly proof: string | null;
}

/**
 * False: the row moved meanwhile (look again). An approval is told only before approve_until, by the clock under the lock.
 * A new epoch: whoever asks the bank about this order right now learns for nothing, and the next one sees the new state.
 * `tries`: a reversal after earlier ones begins with one to its count, so that it carries the repeat mark.
 */
export async function makeMove(knex: Knex, move: DecidedMove): Promise<boolean> {
  const { rows } = await knex.raw(
    `with moved as (
       update orders o set status = :order, version = o.version + 1,
         approved_amount = case when o.status = :order and o.status <> 'reversing' then o.approved_amount
           else coalesce(cast(:approvedAmount as bigint), o.approved_amount) end,
         decline_code = coalesce(cast(:declineCode as text), o.decline_code),
         reason = case o.status when :order then o.reason else coalesce(cast(:reason as text), o.reason) end,
         answer = coalesce(o.answer, cast(:answer as text)),
         answer_status = coalesce(o.answer_status, cast(:answerStatus as text)),
         work = :work, lease_epoch = o.lease_epoch + 1, lease_until = clock_timestamp()
       where o.merchant_id = :merchantId and o.order_id = :orderId and o.version = :version
         and (cast(:leaseEpoch as int) is null
           or o.lease_owner = cast(:leaseOwner as text) and o.lease_epoch = cast(:leaseEpoch as int))
         and (cast(:answerStatus as text) is distinct from 'approved' or clock_timestamp() <= o.approve_until)
       returning o as o
     ), tried as (
       update attempt a set state = :attempt,
         tries = case when a.state = :attempt or :attempt <> 'reversing' then a.tries
           when a.state in ('needs_person', 'reversed') then 1 else 0 end,
         approved_amount = coalesce(cast(:approvedAmount as bigint), a.approved_amount),
         rrn = coalesce(cast(:rrn as text), a.rrn),
         authorization_code = coalesce(cast(:authorizationCode as text), a.authorization_code),
         bank_code = coalesce(cast(:bankCode as text), a.bank_code),
         reason = coalesce(cast(:reason as text), a.reason),
         evidence = coalesce(cast(:evidence as jsonb), a.evidence)
       from moved m
       where a.merchant_id = :merchantId and a.order_id = :orderId and a.attempt_no = :attemptNo
       returning m.o as o, a as a
     ), closed as (
       update person_case c set closed_at = clock_timestamp(), closed_by = :closedBy, action = :action, proof = :proof
       from moved
       where c.merchant_id = :merchantId and c.order_id = :orderId and c.attempt_no = :attemptNo
         and c.closed_at is null and cast(:action as text) is not null
     ), opened as (
       insert into person_case (merchant_id, order_id, version, attempt_no, channel, reason, evidence)
       select (o).merchant_id, (o).order_id, (o).version, (a).attempt_no, (a).channel,
         coalesce((a).reason, 'unknown'), (a).evidence
       from tried where cast(:opensCase as boolean)
     ), journal as (
       insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
       select (o).merchant_id, (o).order_id, (o).version, :eventType, (o).livemode,
         (select generation from source_generation), order_state(o, a)
       from tried
       returning order_id
     )
     select assert_same_count((select count(*) from moved), (select count(*) from journal)) as rows from moved`,
    { ...move },
  );
  return rows.length === 1;
}
