// The values of payment.sql that are the same for every payment, as long as the service's own are.

export const baselineValues: Readonly<Record<string, string>> = {
  merchant: '019a0000-0000-7000-8000-000000000001',
  reference: 'R-1-123456',
  // Sealed: version, key id, nonce, ciphertext and tag of 16 digits.
  card: 'a7'.repeat(62),
  phone: 'a7'.repeat(58),
  device: '{"serial_number":"SN-000011","model":"P2000","app_version":"4.18.2"}',
  discounts: '[{"id":"coupon-42","kind":"coupon","amount":50}]',
  owner: 'collection-1-0a1b2c3d',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  answer: JSON.stringify({
    id: 'ord_019a0000-0000-7000-8000-000000000099',
    status: 'approved',
    amount: 123456,
    currency: 'EUR',
    approved_amount: 123456,
    livemode: false,
    batch_number: '000001',
    trace_number: '000123',
    merchant_reference: 'R-1-123456',
    business_date: '2026-11-24',
    created_at: '2026-11-24T20:00:00.000Z',
    card: { bin: '424242', last_four: '4242' },
    authorization_code: '123456',
    rrn: '123456789012',
    message: 'Approved.',
  }),
  evidence: JSON.stringify({
    request: `{"reference":"${'0'.repeat(28)}","merchant_number":"000100000001","terminal_number":"00000001","amount":123456,"currency":"EUR","instrument":{"type":"card"}}`,
    response: `{"reference":"${'0'.repeat(28)}","amount":123456,"currency":"EUR","merchant_number":"000100000001","terminal_number":"00000001","livemode":false,"result":"approved","response_code":"00","rrn":"123456789012","authorization_code":"123456"}`,
    status: 200,
  }),
};

/** The connection's settings, as the service's batch lanes have them. */
export const LANE_SETTINGS =
  '-c enable_seqscan=off -c plan_cache_mode=force_generic_plan -c jit=off -c lock_timeout=50';
