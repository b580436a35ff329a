// A gentle flow of terminal traffic for the demo: about two payments a second over all terminals, most approved, some
// declined, some repeated, some voided. Bounded: what is not answered yet holds the next ones back.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type MerchantCredentials, readCredentials, readRunFile, serviceOf } from './run-file.ts';
import { cardPayment, cards, createNumbering, createTerminal, type PaymentBody, type Terminal } from './terminal.ts';

const PAYMENTS_PER_SECOND = 2;
const MOST_IN_FLIGHT = 20;
const REPORT_MS = 30_000;
/** Shares of all payments. */
const DECLINED = 0.08;
const BY_CODE = 0.15;
const REPEATED = 0.05;
const VOIDED = 0.03;

const configSchema = z.strictObject({ data_dir: z.string() });
const configFile = process.env['BALLAST_CONFIG'];
if (configFile === undefined) throw new Error('BALLAST_CONFIG must name the configuration file');
const { data_dir } = configSchema.parse(JSON.parse(readFileSync(configFile, 'utf8')));
const run = readRunFile(data_dir);
const { url } = serviceOf(run, 'collection');

interface Till {
  readonly merchant: MerchantCredentials;
  readonly terminal: Terminal;
  readonly numbers: () => { batch_number: string; trace_number: string };
}

const tills: Till[] = readCredentials(run).merchants.flatMap((merchant) =>
  merchant.terminals.map((key) => ({
    merchant,
    terminal: createTerminal({ url, key }),
    numbers: createNumbering(),
  })),
);
if (tills.length === 0) throw new Error(`no terminals in ${run.credentials_file}`);

let inFlight = 0;
let heldBack = 0;
let outcomes = new Map<string, number>();

setInterval(() => {
  if (inFlight >= MOST_IN_FLIGHT) {
    heldBack++;
    return;
  }
  inFlight++;
  sell(oneOf(tills))
    .then(count, (error: unknown) => count(`no answer (${error instanceof Error ? error.message : String(error)})`))
    .finally(() => inFlight--);
}, 1_000 / PAYMENTS_PER_SECOND);

setInterval(() => {
  report({ msg: 'traffic', in_flight: inFlight, held_back: heldBack, outcomes: Object.fromEntries(outcomes) });
  outcomes = new Map();
  heldBack = 0;
}, REPORT_MS);

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0));
report({ msg: 'traffic started', terminals: tills.length, per_second: PAYMENTS_PER_SECOND });

async function sell({ merchant, terminal, numbers }: Till): Promise<string> {
  const body = sale(merchant, numbers());
  const signed = terminal.sign('POST', '/v1/payments', JSON.stringify(body));
  const reply = await terminal.send(signed);
  if (Math.random() < REPEATED) await terminal.send(signed);
  if (reply.json['status'] === 'approved' && Math.random() < VOIDED) await terminal.cancel(body);
  return String(reply.json['status'] === undefined || reply.status >= 400 ? reply.json['code'] : reply.json['status']);
}

function sale(merchant: MerchantCredentials, numbers: { batch_number: string; trace_number: string }): PaymentBody {
  const currency = oneOf(merchant.currencies);
  const amount = 100 + Math.floor(Math.random() ** 3 * 20_000); // many small sales, few large ones
  if (Math.random() < BY_CODE) {
    const code = `28${String(Math.floor(Math.random() * 1e14)).padStart(14, '0')}`;
    return { ...cardPayment(numbers, { amount, currency }), payment_method: { type: 'code', code } };
  }
  const card = Math.random() < DECLINED ? cards.declined : oneOf([cards.approved, cards.approved, cards.approvedToo]);
  return cardPayment(numbers, { amount, currency, card });
}

function oneOf<T>(all: readonly T[]): T {
  return all[Math.floor(Math.random() * all.length)] as T;
}

function count(outcome: string): void {
  outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
}

function report(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), service: 'traffic', ...line })}\n`);
}
