// Order events as a forwarder would deliver them.
import { BEFORE_EVERYTHING, type OrderEvent, type Watermark } from '@ballast/contracts';
import { uuidv7 } from '@ballast/database';

export const merchantId = uuidv7(Date.now());

export function newOrderId(): string {
  return uuidv7(Date.now());
}

export function orderEvent(orderId: string, version: number, changes: Partial<OrderEvent> = {}): OrderEvent {
  const generation = changes.generation ?? 1;
  return {
    kind: 'event',
    id: `${orderId}:${version}:${generation}`,
    source: 'collection',
    generation,
    type: version === 1 ? 'accepted' : 'attempt_changed',
    order_id: orderId,
    merchant_id: merchantId,
    version,
    livemode: false,
    occurred_at: '2026-11-24T20:00:00.123456Z',
    traceparent: null,
    data: orderState(orderId, version),
    ...changes,
  };
}

/** The run that a test's watermarks belong to. */
export const run = '0199a000-0000-7000-8000-000000000001';

export function watermark(value: string, after: string | null = BEFORE_EVERYTHING, generation = 1): Watermark {
  return {
    kind: 'watermark',
    source: 'collection',
    generation,
    node: 'main',
    value,
    run,
    after,
    since: null,
    replaced: [],
  };
}

export const second = (count: number) => `2026-11-24T20:00:0${count}.000000Z`;

function orderState(orderId: string, version: number): OrderEvent['data'] {
  return {
    order_id: orderId,
    merchant_id: merchantId,
    terminal_id: merchantId,
    livemode: false,
    version,
    status: 'processing',
    amount: 1_250,
    currency: 'EUR',
    approved_amount: null,
    method: 'card',
    channel: 'bank_a',
    batch_number: '000001',
    trace_number: '000001',
    merchant_reference: null,
    card_bin: '411111',
    card_last_four: '1111',
    user_id: null,
    device: null,
    discounts: null,
    decline_code: null,
    reason: null,
    answer: null,
    business_date: '2026-11-24',
    accepted_at: '2026-11-24T20:00:00.123Z',
    approve_until: '2026-11-24T20:01:00.123Z',
    voidable_until: '2026-11-24T20:30:00.123Z',
    void_requested: false,
    window_closed: false,
    attempt: null,
  };
}
