// Requests as the bytes that go to the socket, made before they are needed, so that sending one costs a write.
import { createHash, createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { GeneratorTerminal, Target } from './plan.ts';

export interface Prepared {
  readonly bytes: Buffer;
  /** Whom it is from and what it asks for; null for a bank's charge. */
  readonly asked: Asked | null;
}

export interface Asked {
  readonly terminal: GeneratorTerminal;
  readonly key: string;
  readonly batchNumber: string;
  readonly traceNumber: string;
  readonly amount: number;
}

const CARDS = ['4242424242424242', '5555555555554444', '2223003122003222', '4111111111111111'];
const DECLINED_BY_EVERY_BANK = '4000000000000002';
/** No two payments of a run have one amount, so none is a suspected duplicate of another. */
const LEAST_AMOUNT = 100;
const CODES_PER_CENT = 5;

/** The n-th request of a run, always another. */
export function createRequests(target: Target, run: number): (n: number) => Prepared {
  const { host } = new URL(target.url);
  if (target.kind === 'bank') return (n) => ({ bytes: bankCharge(host, run, n), asked: null });
  const secrets = target.terminals.map(({ secret }) => createSecretKey(Buffer.from(secret, 'ascii')));
  return (n) => {
    const at = n % target.terminals.length;
    const terminal = target.terminals[at];
    const secret = secrets[at];
    if (terminal === undefined || secret === undefined) throw new Error('the plan names no terminal');
    return payment(host, { terminal, secret, deadlineMs: target.deadlineMs }, run, n);
  };
}

interface Sender {
  readonly terminal: GeneratorTerminal;
  readonly secret: KeyObject;
  readonly deadlineMs: number | undefined;
}

function payment(host: string, { terminal, secret, deadlineMs }: Sender, run: number, n: number): Prepared {
  // A batch holds a million numbers; a run is one or more batches of its own.
  const batchNumber = String((run * 100 + Math.floor(n / 1_000_000)) % 1_000_000).padStart(6, '0');
  const traceNumber = String(n % 1_000_000).padStart(6, '0');
  const key = `bench-${run}-${n}`;
  const amount = LEAST_AMOUNT + n;
  const body = JSON.stringify({
    amount,
    currency: terminal.currency,
    batch_number: batchNumber,
    trace_number: traceNumber,
    transaction_time: new Date().toISOString(),
    payment_method: methodOf(run, n),
    merchant_reference: `R-${run}-${n}`,
    user: { id: `member-${n % 5_000}`, phone: '+491701234567' },
    device: { serial_number: `SN-${terminal.terminal_id.slice(-6)}`, model: 'P2000', app_version: '4.18.2' },
    discounts: [{ id: `coupon-${n % 100}`, kind: 'coupon', amount: 50 }],
  });
  const timestamp = String(Math.floor(Date.now() / 1_000));
  const deadline = deadlineMs === undefined ? '' : String(deadlineMs);
  const hash = createHash('sha256').update(body).digest('hex');
  const path = '/v1/payments';
  const signed = ['v1', terminal.terminal_id, terminal.key_id, timestamp, 'POST', path, key, deadline, hash].join('\n');
  const signature = createHmac('sha256', secret).update(signed).digest('hex');
  const head =
    `POST ${path} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\nidempotency-key: ${key}\r\n` +
    (deadline === '' ? '' : `ballast-deadline-ms: ${deadline}\r\n`) +
    `ballast-terminal: ${terminal.terminal_id}\r\nballast-key-id: ${terminal.key_id}\r\n` +
    `ballast-timestamp: ${timestamp}\r\nballast-signature: v1=${signature}\r\n\r\n`;
  return { bytes: Buffer.from(head + body), asked: { terminal, key, batchNumber, traceNumber, amount } };
}

function methodOf(run: number, n: number): Readonly<Record<string, unknown>> {
  if (n % 100 < CODES_PER_CENT)
    return { type: 'code', code: `28${String(run).padStart(6, '0')}${String(n).padStart(10, '0')}` };
  return {
    type: 'card',
    number: CARDS[n % CARDS.length],
    expiry_month: 12,
    expiry_year: 2030,
    entry_mode: 'chip',
    pin_block: '9B1C4F2A7D3E8C05',
  };
}

/** Declined, so that the books hold nothing that an order would have to explain. */
function bankCharge(host: string, run: number, n: number): Buffer {
  const body = JSON.stringify({
    reference: `PROBE${String(run).padStart(8, '0')}N${String(n).padStart(14, '0')}`,
    merchant_number: 'PROBE',
    terminal_number: 'PROBE',
    amount: LEAST_AMOUNT,
    currency: 'EUR',
    livemode: false,
    instrument: { type: 'card', number: DECLINED_BY_EVERY_BANK },
  });
  const head = `POST /charges HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  return Buffer.from(head + body);
}
