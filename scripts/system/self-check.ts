// The system proves itself once it is up, from outside, as a terminal and a merchant would.
import { setTimeout as pause } from 'node:timers/promises';
import { request } from 'undici';
import { type RunFile, readCredentials, serviceOf } from './run-file.ts';
import { cardPayment, cards, createNumbering, createTerminal } from './terminal.ts';

export interface Checked {
  readonly what: string;
  readonly ok: boolean;
  /** What was seen. */
  readonly seen: string;
}

/** A merchant sees a payment's story within this time of its answer. */
const STORY_LIMIT_MS = 1_000;
const STORY_POLL_MS = 10;

export async function selfCheck(run: RunFile): Promise<Checked[]> {
  const merchant = readCredentials(run).merchants[0];
  const key = merchant?.terminals[0];
  if (merchant === undefined || key === undefined) throw new Error(`no terminal in ${run.credentials_file}`);
  const terminal = createTerminal({ url: serviceOf(run, 'collection').url, key });
  const numbers = createNumbering();
  // Another amount each time: the same card and amount at one terminal within a minute would be a suspected duplicate.
  const sale = { amount: 1_000 + (Date.now() % 9_000), currency: merchant.currencies[0] ?? 'EUR' };

  const signed = terminal.sign('POST', '/v1/payments', JSON.stringify(cardPayment(numbers(), sale)));
  const paid = await terminal.send(signed);
  const orderId = String(paid.json['id']);
  const story = run.services.query === undefined ? undefined : await storyOf(run, merchant.api_key, orderId);

  const again = await terminal.send(signed);
  const declined = await terminal.pay(cardPayment(numbers(), { ...sale, card: cards.declined }));
  return [
    {
      what: 'a signed payment is approved',
      ok: paid.status === 201 && paid.json['status'] === 'approved',
      seen: `${paid.status} ${paid.json['status'] ?? paid.json['code']}, ${orderId}, ${ms(paid.durationMs)}`,
    },
    {
      what: 'the same request again gets the same bytes, and charges nothing',
      ok: again.text === paid.text && again.headers['idempotent-replayed'] === 'true',
      seen: `${again.text === paid.text ? 'equal' : 'different'}, ${ms(again.durationMs)}`,
    },
    {
      what: 'a card that the bank declines is declined',
      ok: declined.status === 201 && declined.json['status'] === 'declined',
      seen: `${declined.status} ${declined.json['status'] ?? declined.json['code']} ${declined.json['decline_code'] ?? ''}`,
    },
    ...(story === undefined ? [] : [{ what: 'its merchant reads its whole story within a second', ...story }]),
  ];
}

/** Asked from the moment the terminal has its answer. */
async function storyOf(run: RunFile, apiKey: string, orderId: string): Promise<Omit<Checked, 'what'>> {
  const url = `${serviceOf(run, 'query').url}/v1/orders/${orderId}`;
  const started = performance.now();
  for (;;) {
    const reply = await request(url, { headers: { authorization: `Bearer ${apiKey}` } });
    const order = (await reply.body.json()) as { status?: string; events?: unknown[]; code?: string };
    const took = performance.now() - started;
    const events = order.events?.length ?? 0;
    const seen = `${order.status ?? order.code}, ${events} events, ${ms(took)} after the answer`;
    if (reply.statusCode === 200 && order.status === 'approved' && events >= 2) return { ok: true, seen };
    if (took > STORY_LIMIT_MS) return { ok: false, seen };
    await pause(STORY_POLL_MS);
  }
}

function ms(duration: number): string {
  return `${Math.round(duration)} ms`;
}
