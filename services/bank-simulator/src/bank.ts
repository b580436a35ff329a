// One bank: what it does with a charge, an inquiry, a reversal and a refund. It knows its callers only by their
// reference; the same reference again is the same charge. Answers come from its books, written before each reply.
import { createHash } from 'node:crypto';
import { type Books, type Entry, openBooks } from './books.ts';
import type { BankConfig } from './config.ts';

export interface Reply {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface ChargeRequest {
  readonly reference: string;
  readonly amount: number;
  readonly currency: string;
  readonly merchant_number: string;
  readonly terminal_number: string;
  readonly livemode: boolean;
  readonly instrument:
    | { readonly type: 'card'; readonly number: string }
    | { readonly type: 'code'; readonly code: string };
}

export interface Bank {
  readonly name: string;
  readonly books: Books;
  /** `approveOnly`: a behaviour asks for a smaller amount. `pending`: the customer must confirm. */
  charge(request: ChargeRequest, options?: { approvedAmount?: number; pending?: boolean }): Promise<Reply>;
  inquire(reference: string): Reply;
  reverse(
    reference: string,
    terms: { amount: number; currency: string },
    options?: { refuse?: boolean },
  ): Promise<Reply>;
  refund(request: { reference: string; original_reference: string; amount: number; currency: string }): Promise<Reply>;
  inquireRefund(reference: string): Reply;
  /** How long ago this was charged, in ms; null: never. */
  ageOf(reference: string): number | null;
}

interface Charged {
  readonly entry: Entry;
  reversed: boolean;
  refunded: number;
}

/** The published test number that every bank declines, whatever its decline rate. */
const ALWAYS_DECLINED = '4000000000000002';

export function openBank(config: BankConfig): Bank {
  const charges = new Map<string, Charged>();
  const refunds = new Map<string, Entry>();
  /** Reversals of what was never seen, kept to refuse the late original. */
  const early = new Set<string>();
  const books = openBooks(config.books_dir, config.name, remember);

  function remember(entry: Entry): void {
    const { kind, reference, result } = entry;
    if (kind === 'charge') charges.set(reference, { entry, reversed: false, refunded: 0 });
    else if (kind === 'refund') {
      refunds.set(reference, entry);
      const original = charges.get(entry.original_reference ?? '');
      if (original !== undefined && result === 'approved') original.refunded += entry.amount;
    } else if (result === 'reversed') {
      const charged = charges.get(reference);
      if (charged === undefined) early.add(reference);
      else charged.reversed = true;
    }
  }

  async function record(entry: Entry): Promise<void> {
    remember(entry); // first in memory, so that a copy that comes while the disk is written finds it
    await books.append(entry);
  }

  async function charge(
    request: ChargeRequest,
    options: { approvedAmount?: number; pending?: boolean } = {},
  ): Promise<Reply> {
    const known = charges.get(request.reference);
    if (known !== undefined) return replyOf(known);
    const { instrument } = request;
    const entry: Entry = {
      ...frameOf(request),
      kind: 'charge',
      ...(instrument.type === 'card'
        ? { card: `${instrument.number.slice(0, 6)}…${instrument.number.slice(-4)}` }
        : {}),
      ...decide(request, options),
    };
    await record(entry);
    return replyOf(charges.get(request.reference) ?? { entry, reversed: false, refunded: 0 });
  }

  function decide(request: ChargeRequest, options: { approvedAmount?: number; pending?: boolean }) {
    const number = createHash('sha256').update(`${config.name} ${request.reference}`).digest();
    const declined = request.instrument.type === 'card' && request.instrument.number === ALWAYS_DECLINED;
    if (early.has(request.reference))
      return { result: 'declined', response_code: '94', decline_code: 'reversed_before' };
    if (request.livemode !== config.livemode)
      return { result: 'declined', response_code: '58', decline_code: 'wrong_mode' };
    if (declined || number.readUInt32BE(0) / 2 ** 32 < config.decline_rate)
      return { result: 'declined', response_code: '51', decline_code: 'insufficient_funds' };
    return {
      result: options.pending === true ? 'pending' : 'approved',
      response_code: options.pending === true ? '09' : '00',
      amount: options.approvedAmount ?? request.amount,
      rrn: String(number.readUIntBE(4, 6) % 1e12).padStart(12, '0'),
      authorization_code: String(number.readUInt32BE(10) % 1e6).padStart(6, '0'),
    };
  }

  function inquire(reference: string): Reply {
    const known = charges.get(reference);
    return known === undefined ? { status: 404, body: { result: 'not_found', reference } } : replyOf(known);
  }

  async function reverse(
    reference: string,
    terms: { amount: number; currency: string },
    options: { refuse?: boolean } = {},
  ): Promise<Reply> {
    const known = charges.get(reference);
    const answer = (status: number, body: Record<string, unknown>): Reply => ({ status, body: { reference, ...body } });
    if (known === undefined) {
      if (!config.keeps_early_reversals) return answer(404, { result: 'not_found' });
      if (early.has(reference)) return answer(200, { result: 'reversed', already: true });
      await record({
        ...frameOf({ reference, ...terms, merchant_number: '', terminal_number: '', livemode: config.livemode }),
        kind: 'reversal',
        result: 'reversed',
      });
      return answer(200, { result: 'reversed', already: false });
    }
    const { merchant_number, terminal_number, livemode, amount, currency, result } = known.entry;
    if (known.reversed) return answer(200, { result: 'reversed', already: true });
    if (result === 'declined') return answer(200, { result: 'reversed', already: true });
    if (options.refuse === true || known.refunded > 0) {
      await books.append({
        ...frameOf({ reference, amount, currency, merchant_number, terminal_number, livemode }),
        kind: 'reversal',
        result: 'refused',
      });
      return answer(200, { result: 'refused', response_code: '12' });
    }
    await record({
      ...frameOf({ reference, amount, currency, merchant_number, terminal_number, livemode }),
      kind: 'reversal',
      result: 'reversed',
    });
    return answer(200, { result: 'reversed', already: false });
  }

  async function refund(request: {
    reference: string;
    original_reference: string;
    amount: number;
    currency: string;
  }): Promise<Reply> {
    const known = refunds.get(request.reference);
    if (known !== undefined) return { status: 200, body: { ...known } };
    const original = charges.get(request.original_reference);
    const left =
      original === undefined || original.reversed || original.entry.result !== 'approved'
        ? 0
        : original.entry.amount - original.refunded;
    const fits =
      original !== undefined &&
      request.amount > 0 &&
      request.amount <= left &&
      request.currency === original.entry.currency;
    const { merchant_number = '', terminal_number = '', livemode = config.livemode } = original?.entry ?? {};
    const entry: Entry = {
      ...frameOf({ ...request, merchant_number, terminal_number, livemode }),
      kind: 'refund',
      original_reference: request.original_reference,
      ...(fits
        ? { result: 'approved', response_code: '00' }
        : { result: 'declined', response_code: '13', decline_code: 'exceeds_original' }),
    };
    await record(entry);
    return { status: 200, body: { ...entry } };
  }

  function inquireRefund(reference: string): Reply {
    const known = refunds.get(reference);
    return known === undefined
      ? { status: 404, body: { result: 'not_found', reference } }
      : { status: 200, body: { ...known } };
  }

  function ageOf(reference: string): number | null {
    const known = charges.get(reference);
    return known === undefined ? null : Date.now() - Date.parse(known.entry.at);
  }

  return { name: config.name, books, charge, inquire, reverse, refund, inquireRefund, ageOf };
}

function frameOf(
  of: Pick<Entry, 'reference' | 'amount' | 'currency' | 'merchant_number' | 'terminal_number' | 'livemode'>,
) {
  const { reference, amount, currency, merchant_number, terminal_number, livemode } = of;
  return { at: new Date().toISOString(), reference, amount, currency, merchant_number, terminal_number, livemode };
}

function replyOf({ entry, reversed }: Charged): Reply {
  const { at: _at, kind: _kind, card: _card, ...body } = entry;
  return { status: 200, body: reversed ? { ...body, result: 'reversed' } : body };
}
