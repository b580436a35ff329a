// From rows to what contracts says a merchant sees.
import {
  amountToJson,
  type MerchantAttempt,
  type MerchantOrder,
  type MerchantOrderEvent,
  type MerchantOrderStory,
  merchantOrderSchema,
  type OrderState,
  orderStateSchema,
  publicId,
} from '@ballast/contracts';
import type { OrderRow, StoryRow } from './read-orders.sql.ts';

const VISIBLE_OF_REFERENCE = 4;

export function merchantOrder(row: OrderRow): MerchantOrder {
  const { order_id, terminal_id, amount, approved_amount, card_bin, card_last_four } = row;
  return {
    id: publicId('ord', order_id),
    status: merchantOrderSchema.shape.status.parse(row.status),
    livemode: row.livemode,
    amount: amountToJson(amount),
    currency: merchantOrderSchema.shape.currency.parse(row.currency),
    approved_amount: approved_amount === null ? null : amountToJson(approved_amount),
    method: merchantOrderSchema.shape.method.parse(row.method),
    channel: row.channel,
    terminal: publicId('trm', terminal_id),
    batch_number: row.batch_number,
    trace_number: row.trace_number,
    merchant_reference: row.merchant_reference,
    card: card_last_four === null ? null : { bin: card_bin, last_four: card_last_four },
    authorization_code: row.authorization_code,
    rrn: row.rrn,
    decline_code: row.decline_code,
    reason: row.reason,
    answer: merchantOrderSchema.shape.answer.parse(row.answer),
    void_requested: row.void_requested,
    business_date: row.business_date,
    created_at: row.created_at,
    updated_at: row.updated_at,
    version: row.version,
  };
}

/** The order, its attempts as they stand now, and every event with the order's state after it. */
export function merchantOrderStory(row: StoryRow): MerchantOrderStory {
  const told = row.story.map(({ version, type, occurred_at, state }) => ({
    version,
    type: type as MerchantOrderEvent['type'], // stored from a parsed event
    occurred_at,
    state: orderStateSchema.parse(state),
  }));
  const now = told.at(-1)?.state;
  if (now === undefined) throw new Error(`BUG: order ${row.order_id} has a row and no story`);
  const attempts = new Map<number, MerchantAttempt>();
  for (const { state } of told) if (state.attempt !== null) attempts.set(state.attempt.attempt, masked(state.attempt));
  return {
    ...merchantOrder(row),
    user_id: now.user_id,
    device: now.device,
    discounts: now.discounts,
    approve_until: now.approve_until,
    voidable_until: now.voidable_until,
    window_closed: now.window_closed,
    attempts: [...attempts.values()].sort((a, b) => a.attempt - b.attempt),
    events: told.map(({ version, type, occurred_at, state }) => ({
      version,
      type,
      occurred_at,
      status: state.status,
      approved_amount: state.approved_amount,
      channel: state.channel,
      decline_code: state.decline_code,
      reason: state.reason,
      answer: merchantOrderSchema.shape.answer.parse(state.answer),
      void_requested: state.void_requested,
      window_closed: state.window_closed,
      attempt: state.attempt === null ? null : masked(state.attempt),
    })),
  };
}

function masked(attempt: NonNullable<OrderState['attempt']>): MerchantAttempt {
  const { bank_reference, ...rest } = attempt;
  return { ...rest, bank_reference: `…${bank_reference.slice(-VISIBLE_OF_REFERENCE)}` };
}
