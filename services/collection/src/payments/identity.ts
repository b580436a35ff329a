// Who a request is: the two identities a terminal knows its payment by, and whether two requests are the same one.
import { hash } from 'node:crypto';
import type { FieldError, PaymentRequest } from '@ballast/contracts';
import type { TerminalIdentity } from '../merchants/directory.ts';
import type { OrderRow } from './orders.sql.ts';

/** A terminal's live and its test key are two worlds: their numbers never meet. */
type Signer = Pick<TerminalIdentity, 'terminalId' | 'livemode'>;

/**
 * First 128 bits of SHA-256 over the parts, in the shape of a UUID (half the index of a bytea). Two of one merchant's
 * billion payments collide with a probability of about 1e-21.
 */
function hashOf(kind: 'key' | 'trace' | 'similar', signer: Signer, ...parts: string[]): string {
  const hex = hash('sha256', [kind, signer.livemode ? 'live' : 'test', signer.terminalId, ...parts].join('\n'));
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/**
 * `secret`: 256 bits that stand in no table. A terminal may choose anything for its key, a card number too, and that could
 * be found by trying them all. An HMAC would cost five times as much, and of a digest cut in half it protects nothing more.
 */
export function keyHash(secret: string, signer: Signer, idempotencyKey: string): string {
  return hashOf('key', signer, secret, idempotencyKey);
}

/** "1" and "000001" are the same batch: terminals pad as they please. */
export function traceHash(signer: Signer, batchNumber: string, traceNumber: string): string {
  return hashOf('trace', signer, batchNumber.padStart(6, '0'), traceNumber);
}

/** The same card (by its keyed fingerprint), amount and currency at the same terminal. */
export function similarHash(signer: Signer, fingerprint: Buffer, amount: bigint, currency: string): string {
  return hashOf('similar', signer, fingerprint.toString('hex'), String(amount), currency);
}

/**
 * The first immutable business field in which a request differs from the stored order, or null. Track, CVV, PIN block,
 * timestamps, device, confirmation of a duplicate and the order of fields take no part; the card takes part by its fingerprint.
 */
export function firstDifference(request: PaymentRequest, fingerprint: Buffer, order: OrderRow): FieldError | null {
  const differs = (pointer: string): FieldError => ({ pointer, detail: 'differs from the first request' });
  if (request.amount !== order.amount) return differs('/amount');
  if (request.currency !== order.currency) return differs('/currency');
  if (request.payment_method.type !== order.method) return differs('/payment_method/type');
  if (!fingerprint.equals(order.instrument_fingerprint)) {
    return differs(request.payment_method.type === 'card' ? '/payment_method/number' : '/payment_method/code');
  }
  if ((request.merchant_reference ?? null) !== order.merchant_reference) return differs('/merchant_reference');
  if ((request.user?.id ?? null) !== order.user_id) return differs('/user/id');
  if (
    discountsText(request) !== (order.discounts === null ? null : sortedDiscounts(order.discounts as StoredDiscount[]))
  ) {
    return differs('/discounts');
  }
  return null;
}

interface StoredDiscount {
  readonly id: string;
  readonly kind: string;
  readonly amount: number | bigint;
}

/** Discounts as they are stored: JSON text with the fields in one order, or null. */
export function discountsText(request: PaymentRequest): string | null {
  return request.discounts === undefined ? null : sortedDiscounts(request.discounts);
}

function sortedDiscounts(discounts: readonly StoredDiscount[]): string {
  return JSON.stringify(discounts.map(({ id, kind, amount }) => ({ id, kind, amount: Number(amount) })));
}
