// Order events as collection writes them, for tests. Everything can be set; nothing is random.
import { randomUUID } from 'node:crypto';
import type { OrderEvent, OrderState } from '@ballast/contracts';
import { uuidv7 } from '@ballast/database';

export const merchantA = '019a0000-0000-7000-8000-00000000000a';
export const merchantB = '019a0000-0000-7000-8000-00000000000b';

export interface Made {
  readonly orderId?: string;
  readonly merchantId?: string;
  readonly livemode?: boolean;
  readonly generation?: number;
  readonly type?: OrderEvent['type'];
  readonly at?: number;
  readonly state?: Partial<OrderState>;
}

export function event(version: number, made: Made = {}): OrderEvent {
  const { merchantId = merchantA, livemode = false, generation = 1, type = 'accepted', at = Date.now() } = made;
  const orderId = made.orderId ?? uuidv7(at);
  const acceptedAt = new Date(Number.parseInt(orderId.replace('-', '').slice(0, 12), 16)).toISOString();
  return {
    kind: 'event',
    id: `${orderId}:${version}:${generation}`,
    source: 'collection',
    generation,
    type,
    order_id: orderId,
    merchant_id: merchantId,
    version,
    livemode,
    occurred_at: new Date(at).toISOString(),
    traceparent: null,
    data: {
      order_id: orderId,
      merchant_id: merchantId,
      terminal_id: '019a0000-0000-7000-8000-000000000001',
      livemode,
      version,
      status: 'processing',
      amount: 1250,
      currency: 'EUR',
      approved_amount: null,
      method: 'card',
      channel: 'bank_a',
      batch_number: '000001',
      trace_number: '000123',
      merchant_reference: null,
      card_bin: '424242',
      card_last_four: '4242',
      user_id: null,
      device: { serial_number: 'S-1' },
      discounts: null,
      decline_code: null,
      reason: null,
      answer: null,
      business_date: acceptedAt.slice(0, 10),
      accepted_at: acceptedAt,
      approve_until: acceptedAt,
      voidable_until: acceptedAt,
      void_requested: false,
      window_closed: false,
      attempt: {
        attempt: 1,
        state: 'sent',
        channel: 'bank_a',
        bank_reference: '06DXK3QHYR7SN9V4T2M8ZB5CFE01',
        rrn: null,
        authorization_code: null,
        bank_code: null,
        reason: null,
      },
      ...made.state,
    },
  };
}

/** Accepted, then approved. */
export function approvedOrder(made: Made = {}): [OrderEvent, OrderEvent] {
  const first = event(1, made);
  const orderId = first.order_id;
  const attempt = first.data.attempt;
  const approved: Partial<OrderState> = {
    ...made.state,
    status: made.state?.status ?? 'approved',
    approved_amount: first.data.amount,
    answer: 'approved',
    attempt: attempt && { ...attempt, state: 'approved', rrn: '632812345678', authorization_code: 'A1B2C3' },
  };
  return [
    { ...first, data: { ...first.data, status: 'processing' } },
    event(2, { ...made, orderId, type: 'approved', state: approved }),
  ];
}

export function newMerchant(): string {
  return randomUUID();
}
