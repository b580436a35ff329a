import type { PaymentRequest } from '@ballast/contracts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Route } from '../src/merchants/directory.ts';
import { bankReference, fromBankReference } from '../src/payments/bank-reference.ts';
import { businessDate } from '../src/payments/business-date.ts';
import { routesInOrder } from '../src/payments/channel-choice.ts';
import { keyHash, traceHash } from '../src/payments/identity.ts';

describe('a bank reference', () => {
  test('is 28 characters and leads back to its order and attempt', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.integer({ min: 1, max: 0xfff }), (orderId, attempt) => {
        const reference = bankReference(orderId, attempt);
        expect(reference).toMatch(/^[0-9A-V]{28}$/);
        expect(fromBankReference(reference)).toEqual({ orderId, attempt });
      }),
    );
  });

  test.each([0, -1, 1.5, 0x1000, Number.NaN])('refuses the attempt number %s', (attempt) => {
    expect(() => bankReference('019a0000-0000-7000-8000-000000000001', attempt)).toThrow(RangeError);
  });

  test.each(['', 'x', 'Z'.repeat(28), '0'.repeat(27), '0'.repeat(29)])('is not read out of %j', (text) => {
    expect(fromBankReference(text)).toBeNull();
  });
});

describe('the business date', () => {
  test.each([
    // zone, cutover, instant, date
    ['Europe/Berlin', '00:00', '2026-03-28T22:59:59Z', '2026-03-28'],
    ['Europe/Berlin', '00:00', '2026-03-28T23:00:00Z', '2026-03-29'],
    ['Europe/Berlin', '23:00', '2026-03-28T21:59:59Z', '2026-03-28'],
    ['Europe/Berlin', '23:00', '2026-03-28T22:00:00Z', '2026-03-29'],
    // After the change to summer time the same local cutover is an hour earlier in UTC.
    ['Europe/Berlin', '23:00', '2026-03-29T21:00:00Z', '2026-03-30'],
    ['Asia/Tokyo', '00:00', '2026-12-31T15:00:00Z', '2027-01-01'],
    ['Asia/Kuwait', '18:00', '2026-12-31T15:00:00Z', '2027-01-01'],
    ['America/Los_Angeles', '22:00', '2026-02-28T06:00:00Z', '2026-02-28'],
  ])('%s with cutover %s at %s is %s', (timeZone, cutover, instant, date) => {
    expect(businessDate(Date.parse(instant), timeZone, cutover)).toBe(date);
  });
});

describe('the identities of a payment', () => {
  const terminal = { terminalId: '019a0000-0000-7000-8000-000000000001', livemode: false };
  const secret = 'a secret';

  test('a batch number means the same with and without leading zeros', () => {
    expect(traceHash(terminal, '1', '000123')).toBe(traceHash(terminal, '000001', '000123'));
  });

  test('key and number never share a hash, nor do two terminals, nor the live and the test key of one', () => {
    const other = { ...terminal, terminalId: '019a0000-0000-7000-8000-000000000002' };
    const hashes = [
      keyHash(secret, terminal, 'a'),
      keyHash(secret, other, 'a'),
      keyHash(secret, { ...terminal, livemode: true }, 'a'),
      keyHash(secret, terminal, 'b'),
      traceHash(terminal, '1', '000001'),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  test('a key cannot be found by trying out what it may have been: a secret is in its hash', () => {
    const key = '4242424242424242';
    expect(keyHash(secret, terminal, key)).not.toBe(keyHash('another secret', terminal, key));
  });
});

describe('the choice of a channel', () => {
  const route = (channel: string, extra: Partial<Route> = {}): Route => ({
    channel,
    method: 'card',
    binPrefix: null,
    weight: 1,
    merchantNumber: 'M',
    terminalNumber: 'T',
    currency: null,
    ...extra,
  });
  const request = { currency: 'EUR', payment_method: { type: 'card', number: '4242424242424242' } } as PaymentRequest;

  const order = (routes: Route[], random: number) => routesInOrder(routes, request, () => random).map((r) => r.channel);

  test('the longest BIN prefix comes first, whatever the weights, and the shorter ones follow', () => {
    const routes = [
      route('any', { weight: 1000 }),
      route('visa', { binPrefix: '4' }),
      route('bin', { binPrefix: '424242' }),
    ];
    for (const random of [0, 0.5, 0.999999]) expect(order(routes, random)).toEqual(['bin', 'visa', 'any']);
  });

  test('weights share among equals, and the rest stand behind', () => {
    const routes = [route('a', { weight: 1 }), route('b', { weight: 3 })];
    expect(order(routes, 0.24)).toEqual(['a', 'b']);
    expect(order(routes, 0.26)).toEqual(['b', 'a']);
  });

  test.each([
    ['another currency', { currency: 'JPY' }],
    ['another method', { method: 'code' as const }],
    ['another BIN', { binPrefix: '51' }],
    ['no weight', { weight: 0 }],
  ])('a route with %s does not fit', (_why, extra) => {
    expect(order([route('a', extra)], 0)).toEqual([]);
  });
});
