// A POS terminal: it signs its requests and sends them, exactly as the README does with openssl and curl.
import { createHash, createHmac, createSecretKey, randomInt, randomUUID } from 'node:crypto';
import { type Dispatcher, request } from 'undici';
import type { TerminalCredentials } from './run-file.ts';

export type SigningKey = Pick<TerminalCredentials, 'terminal_id' | 'key_id' | 'secret'>;

export interface SignedRequest {
  readonly method: 'GET' | 'POST';
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Empty for GET. */
  readonly body: string;
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** As it came: a replay is the same, byte for byte. */
  readonly text: string;
  readonly json: Readonly<Record<string, unknown>>;
  readonly durationMs: number;
}

export interface SendOptions {
  /** Default: one per request, as a terminal does for each sale. */
  readonly idempotencyKey?: string;
  readonly deadlineMs?: number;
}

export interface Terminal {
  sign(method: 'GET' | 'POST', path: string, body: string, options?: SendOptions): SignedRequest;
  /** Sends the very same bytes as often as it is called. Rejects when no answer came: the outcome is unknown. */
  send(signed: SignedRequest): Promise<Reply>;
  pay(body: PaymentBody, options?: SendOptions): Promise<Reply>;
  /** The payment as it stands now, by its `ord_…` id. */
  look(orderId: string): Promise<Reply>;
  cancel(number: { batch_number: string; trace_number: string }, options?: SendOptions): Promise<Reply>;
}

export interface PaymentBody {
  readonly amount: number;
  readonly currency: string;
  readonly batch_number: string;
  readonly trace_number: string;
  readonly transaction_time: string;
  readonly payment_method: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

/** Beyond the longest deadline a terminal may ask for, so that the service's own limit is what one sees. */
const ANSWER_LIMIT_MS = 65_000;

export function createTerminal(options: { url: string; key: SigningKey; dispatcher?: Dispatcher }): Terminal {
  const { url, key, dispatcher } = options;
  const secret = createSecretKey(Buffer.from(key.secret, 'ascii'));

  function sign(method: 'GET' | 'POST', path: string, body: string, sendOptions: SendOptions = {}): SignedRequest {
    const timestamp = String(Math.floor(Date.now() / 1_000));
    const idempotencyKey = sendOptions.idempotencyKey ?? (method === 'POST' ? randomUUID() : '');
    const deadline = sendOptions.deadlineMs === undefined ? '' : String(sendOptions.deadlineMs);
    const bodyHash = createHash('sha256').update(body).digest('hex');
    const signed = ['v1', key.terminal_id, key.key_id, timestamp, method, path, idempotencyKey, deadline, bodyHash];
    const signature = createHmac('sha256', secret).update(signed.join('\n')).digest('hex');
    return {
      method,
      path,
      body,
      headers: {
        'ballast-terminal': key.terminal_id,
        'ballast-key-id': key.key_id,
        'ballast-timestamp': timestamp,
        'ballast-signature': `v1=${signature}`,
        ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
        ...(idempotencyKey === '' ? {} : { 'idempotency-key': idempotencyKey }),
        ...(deadline === '' ? {} : { 'ballast-deadline-ms': deadline }),
      },
    };
  }

  async function send({ method, path, headers, body }: SignedRequest): Promise<Reply> {
    const started = performance.now();
    const reply = await request(`${url}${path}`, {
      method,
      headers,
      body: method === 'GET' ? null : body,
      headersTimeout: ANSWER_LIMIT_MS,
      bodyTimeout: ANSWER_LIMIT_MS,
      ...(dispatcher === undefined ? {} : { dispatcher }),
    });
    const text = await reply.body.text();
    const durationMs = performance.now() - started;
    return { status: reply.statusCode, headers: reply.headers, text, json: jsonOf(text), durationMs };
  }

  return {
    sign,
    send,
    pay: (body, sendOptions) => send(sign('POST', '/v1/payments', JSON.stringify(body), sendOptions)),
    look: (orderId) => send(sign('GET', `/v1/payments/${orderId}`, '')),
    cancel: (number, sendOptions) => {
      const body = { ...number, transaction_time: new Date().toISOString(), reason: 'customer_cancelled' };
      return send(sign('POST', '/v1/voids', JSON.stringify(body), sendOptions));
    },
  };
}

/** What is not an object (an empty body, a proxy's HTML) reads as one without fields. */
function jsonOf(text: string): Reply['json'] {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Reply['json']) : {};
  } catch {
    return {};
  }
}

export const cards = {
  approved: '4242424242424242',
  approvedToo: '5555555555554444',
  /** The published test number that every simulated bank declines. */
  declined: '4000000000000002',
} as const;

/** A terminal's numbers, unique over restarts with high probability: a batch by the second, a trace that counts up. */
export function createNumbering(): () => { batch_number: string; trace_number: string } {
  const batch = String(Math.floor(Date.now() / 1_000) % 1_000_000).padStart(6, '0');
  let trace = randomInt(0, 900_000);
  return () => {
    trace = (trace + 1) % 1_000_000;
    return { batch_number: batch, trace_number: String(trace).padStart(6, '0') };
  };
}

export function cardPayment(
  numbers: { batch_number: string; trace_number: string },
  sale: { amount: number; currency: string; card?: string },
): PaymentBody {
  return {
    amount: sale.amount,
    currency: sale.currency,
    ...numbers,
    transaction_time: new Date().toISOString(),
    payment_method: {
      type: 'card',
      number: sale.card ?? cards.approved,
      expiry_month: 12,
      expiry_year: new Date().getFullYear() + 2,
      entry_mode: 'chip',
    },
  };
}
