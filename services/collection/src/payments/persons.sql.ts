// What is with a person, and the answers that were odd. Small tables: by primary key, and the open cases by their index;
// each case's order and attempt by primary key, in the one partition that its id names.
import type { Knex } from 'knex';
import type { AttemptState } from './payment.ts';
import { firstIdBefore } from './payments.sql.ts';

export interface PersonCase {
  readonly merchant_id: string;
  readonly order_id: string;
  readonly version: number;
  readonly attempt_no: number;
  readonly channel: string;
  readonly reason: string;
  readonly evidence: unknown;
  readonly opened_at: string;
  readonly order_status: string;
  readonly attempt_state: AttemptState;
  readonly bank_reference: string;
  readonly amount: bigint;
  readonly currency: string;
}

const CASE = `c.merchant_id, c.order_id, c.version, c.attempt_no, c.channel, c.reason, c.evidence,
  rfc3339(c.opened_at) as opened_at, o.status as order_status, a.state as attempt_state,
  a.bank_reference, a.amount, a.currency`;

const OF_ORDER = `join orders o on o.merchant_id = c.merchant_id and o.order_id = c.order_id
  join attempt a on a.merchant_id = c.merchant_id and a.order_id = c.order_id and a.attempt_no = c.attempt_no`;

/** Open cases, oldest first. Index person_case_open. */
export async function openCases(knex: Knex, limit: number): Promise<PersonCase[]> {
  const { rows } = await knex.raw(
    `select ${CASE} from person_case c ${OF_ORDER} where c.closed_at is null order by c.opened_at limit ?`,
    [limit],
  );
  return rows;
}

/** The newest open case of one order: one that ends by itself may still be open beside it. */
export async function openCaseOf(knex: Knex, merchantId: string, orderId: string): Promise<PersonCase | undefined> {
  const { rows } = await knex.raw(
    `select ${CASE} from person_case c ${OF_ORDER}
     where c.merchant_id = ? and c.order_id = ? and c.closed_at is null
     order by c.version desc limit 1`,
    [merchantId, orderId],
  );
  return rows[0];
}

/**
 * A person has seen what nobody can change any more: the attempt's cases end, however many are open, the order stays. False:
 * closed already.
 */
export async function closeCase(
  knex: Knex,
  place: { merchantId: string; orderId: string; attemptNo: number },
  closing: { closedBy: string; action: string; proof: string },
): Promise<boolean> {
  const { rowCount } = await knex.raw(
    `update person_case set closed_at = clock_timestamp(), closed_by = :closedBy, action = :action, proof = :proof
     where merchant_id = :merchantId and order_id = :orderId and attempt_no = :attemptNo and closed_at is null`,
    { ...place, ...closing },
  );
  return rowCount > 0;
}

/** Reason of a case that ends by itself: nobody has to do anything, but somebody has to know. */
const SILENCE = 'bank_not_reached';

/**
 * Where nothing was learnt of the order since its last event, for `silentMs`: a case, once per state of the order. True: it is
 * new. Each table by primary key, in the one partition that the id names.
 */
export async function openCaseOfSilence(
  knex: Knex,
  of: { merchantId: string; orderId: string; attemptNo: number; silentMs: number; why: string },
): Promise<boolean> {
  const { rowCount } = await knex.raw(
    `insert into person_case (merchant_id, order_id, version, attempt_no, channel, reason, evidence)
     select o.merchant_id, o.order_id, o.version, a.attempt_no, a.channel, :reason,
       jsonb_build_object('request', 'reversal of ' || a.bank_reference, 'response', 'not sent: ' || cast(:why as text),
         'httpStatus', null)
     from orders o
       join attempt a on a.merchant_id = :merchantId and a.order_id = :orderId and a.attempt_no = :attemptNo
       join order_event e on e.merchant_id = :merchantId and e.order_id = :orderId and e.version = o.version
     where o.merchant_id = :merchantId and o.order_id = :orderId and a.state = 'reversing'
       and e.occurred_at < clock_timestamp() - :silentMs * interval '1 ms'
     on conflict (merchant_id, order_id, version) do nothing`,
    {
      merchantId: of.merchantId,
      orderId: of.orderId,
      attemptNo: of.attemptNo,
      silentMs: of.silentMs,
      why: of.why,
      reason: SILENCE,
    },
  );
  return rowCount === 1;
}

/** The order has moved on since: the bank was reached. Index person_case_open; each order by primary key, as a scalar. */
export async function closeCasesOfSilence(knex: Knex, limit: number): Promise<number> {
  const { rowCount } = await knex.raw(
    `update person_case set closed_at = clock_timestamp(), closed_by = 'resolver', action = 'ended_by_itself'
     where ctid = any(array(
       select c.ctid from person_case c
       where c.closed_at is null and c.reason = ? and c.version < (select o.version from orders o
         where o.merchant_id = c.merchant_id and o.order_id = c.order_id)
       limit ?))`,
    [SILENCE, limit],
  );
  return rowCount;
}

export async function countOpenCases(knex: Knex): Promise<{ channel: string; cases: bigint }[]> {
  const { rows } = await knex.raw(
    'select channel, count(*) as cases from person_case where closed_at is null group by channel',
  );
  return rows;
}

export interface OddAnswer {
  readonly merchantId: string;
  readonly oddId: string;
  readonly orderId: string;
  readonly attemptNo: number;
  readonly channel: string;
  readonly operation: string;
  readonly kind: string;
  /** What it did to the order or its attempt. */
  readonly effect: string;
  readonly bankReference: string;
  readonly evidence: string | null;
}

export async function keepOddAnswer(knex: Knex, odd: OddAnswer): Promise<void> {
  await knex.raw(
    `insert into odd_answer (merchant_id, odd_id, order_id, attempt_no, channel, operation, kind, effect, bank_reference,
       evidence)
     values (:merchantId, :oddId, :orderId, :attemptNo, :channel, :operation, :kind, :effect, :bankReference,
       cast(:evidence as jsonb))`,
    { ...odd },
  );
}

/** An odd answer's id is later than its order's, whichever way the clock was set meanwhile. */
const LARGEST_JUMP_MS = 2 * 3_600_000;

/**
 * Whether the bank has answered about this very attempt, though not as it was asked: with another amount, currency, merchant
 * or terminal. Primary key, from the order's own time on.
 */
export async function wasAnsweredOddly(
  knex: Knex,
  { merchantId, orderId, attemptNo }: { merchantId: string; orderId: string; attemptNo: number },
): Promise<boolean> {
  const { rows } = await knex.raw(
    `select exists (select from odd_answer
       where merchant_id = :merchantId and odd_id >= :since and order_id = :orderId and attempt_no = :attemptNo
         and kind in ('mismatch_amount', 'mismatch_currency', 'mismatch_merchant', 'mismatch_terminal')) as oddly`,
    { merchantId, orderId, attemptNo, since: firstIdBefore(orderId, LARGEST_JUMP_MS) },
  );
  return rows[0].oddly;
}
