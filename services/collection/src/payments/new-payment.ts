// What commit 1 stores of a request, and what goes to the bank: the card number leaves memory sealed or not at all.
import type { Charge } from '@ballast/channels';
import { uuidOf } from '@ballast/contracts';
import { uuidv7 } from '@ballast/database';
import type { Route } from '../merchants/directory.ts';
import { bankReference } from './bank-reference.ts';
import { businessDateCached } from './business-date.ts';
import type { PaymentsCore, TakePaymentCommand } from './core.ts';
import { discountsText, keyHash, similarHash, traceHash } from './identity.ts';
import type { NewPayment } from './payments.sql.ts';

/** What a request is known by, and the card or code it must have again to be the same. */
export type Identities = Pick<NewPayment, 'merchantId' | 'keyHash' | 'traceHash' | 'fingerprint'>;

export function identitiesOf(
  core: PaymentsCore,
  { terminal, request, idempotencyKey }: TakePaymentCommand,
): Identities {
  const method = request.payment_method;
  return {
    merchantId: terminal.merchantId,
    keyHash: keyHash(core.keySecret, terminal, idempotencyKey),
    traceHash: traceHash(terminal, request.batch_number, request.trace_number),
    fingerprint: core.vault.fingerprint(method.type === 'card' ? method.number : method.code),
  };
}

export function newPayment(
  core: PaymentsCore,
  command: TakePaymentCommand,
  route: Route,
  nowMs: number,
  deadline: number,
): NewPayment {
  const { terminal, merchant, request } = command;
  const ids = identitiesOf(core, command);
  const { merchantId, fingerprint } = ids;
  const orderId = uuidv7(nowMs);
  const method = request.payment_method;
  const card = method.type === 'card' ? method : null;
  const phone = request.user?.phone;
  return {
    ...ids,
    orderId,
    similarHash:
      core.duplicateWindowMs > 0 ? similarHash(terminal, fingerprint, request.amount, request.currency) : null,
    confirmedDuplicateOf: uuidOf('ord', request.confirm_duplicate_of ?? '') ?? null,
    terminalId: terminal.terminalId,
    livemode: terminal.livemode,
    amount: request.amount,
    currency: request.currency,
    method: method.type,
    channel: route.channel,
    batchNumber: request.batch_number,
    traceNumber: request.trace_number,
    merchantReference: request.merchant_reference ?? null,
    cardBin: card === null ? null : shownBin(card.number),
    cardLastFour: card?.number.slice(-4) ?? null,
    cardSealed: card === null ? null : core.vault.seal(card.number, { merchantId, orderId, field: 'card' }),
    phoneSealed: phone === undefined ? null : core.vault.seal(phone, { merchantId, orderId, field: 'phone' }),
    userId: request.user?.id ?? null,
    device: request.device === undefined ? null : JSON.stringify(request.device),
    discounts: discountsText(request),
    transactionTime: request.transaction_time,
    businessDate: businessDateCached(nowMs, merchant.timeZone, merchant.cutover),
    remainingMs: Math.max(0, Math.ceil(deadline - performance.now())),
    voidWindowMs: merchant.voidWindowMs,
    leaseOwner: core.owner,
    bankReference: bankReference(orderId, 1),
    bankMerchantNumber: route.merchantNumber,
    bankTerminalNumber: route.terminalNumber,
    traceparent: command.traceparent,
  };
}

/** Six digits; fewer of a short number, so that with the last four at least five stay hidden. */
function shownBin(number: string): string {
  return number.slice(0, Math.min(6, number.length - 9));
}

/** One attempt of a payment at one channel, under our own reference. */
export interface Attempt {
  readonly attemptNo: number;
  readonly channel: string;
  readonly bankReference: string;
  readonly bankMerchantNumber: string;
  readonly bankTerminalNumber: string;
}

export function attemptAt(orderId: string, attemptNo: number, route: Route): Attempt {
  return {
    attemptNo,
    channel: route.channel,
    bankReference: bankReference(orderId, attemptNo),
    bankMerchantNumber: route.merchantNumber,
    bankTerminalNumber: route.terminalNumber,
  };
}

/** Track, CVV and PIN block go from the request's memory to the bank and nowhere else. */
export function chargeOf({ request }: TakePaymentCommand, payment: NewPayment, attempt: Attempt): Charge {
  const method = request.payment_method;
  return {
    bankReference: attempt.bankReference,
    merchantNumber: attempt.bankMerchantNumber,
    terminalNumber: attempt.bankTerminalNumber,
    amount: payment.amount,
    currency: payment.currency,
    livemode: payment.livemode,
    instrument:
      method.type === 'code'
        ? { type: 'code', code: method.code }
        : {
            type: 'card',
            number: method.number,
            expiryMonth: method.expiry_month,
            expiryYear: method.expiry_year,
            entryMode: method.entry_mode,
            ...(method.track2 === undefined ? {} : { track2: method.track2 }),
            ...(method.cvv === undefined ? {} : { cvv: method.cvv }),
            ...(method.pin_block === undefined ? {} : { pinBlock: method.pin_block }),
          },
  };
}
