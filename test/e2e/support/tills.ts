// Terminals that sell, each waiting for its answer, and that send the very same bytes again while they do not know. What
// each was told is recorded as the checker reads it.
import { setTimeout as pause } from 'node:timers/promises';
import { Agent } from 'undici';
import { openHistory, resultOf } from '../../../load-tests/checker/history.ts';
import { type RunFile, readCredentials, serviceOf } from '../../../scripts/system/run-file.ts';
import {
  cardPayment,
  cards,
  createNumbering,
  createTerminal,
  type PaymentBody,
  type Reply,
  type SignedRequest,
  type Terminal,
} from '../../../scripts/system/terminal.ts';

export interface Till {
  readonly terminal: Terminal;
  readonly merchantId: string;
  readonly terminalId: string;
  sale(fields?: { amount?: number; currency?: string; card?: string; reference?: string }): PaymentBody;
  /** Sends once and records; null: no answer came, the outcome is unknown. */
  post(body: PaymentBody, signed: SignedRequest): Promise<Reply | null>;
}

export interface Tills {
  readonly all: readonly Till[];
  /** Sells on every till until `stop`; counts what was answered finally (201). */
  sell(): { answered(): number; unknown(): number; stop(): Promise<void> };
  readonly historyFile: string;
  close(): Promise<void>;
}

/** What a terminal gives one request. Short, so that a killed service's leases run out within the test. */
const deadlineMs = 3_000;
const PAUSE_MS = 30;
const RETRY_MS = 200;
/** A terminal gives up after this: what it does not know then stays unknown to it. */
const TRIES = 100;

export function openTills(run: RunFile, historyFile: string): Tills {
  const history = openHistory(historyFile);
  const agent = new Agent({ connections: 4, headersTimeout: 2 * deadlineMs, bodyTimeout: 2 * deadlineMs });
  const { url } = serviceOf(run, 'collection');
  let amount = 1_000;
  const all: Till[] = readCredentials(run).merchants.flatMap((merchant) =>
    merchant.terminals.map((key) => {
      const terminal = createTerminal({ url, key, dispatcher: agent });
      const numbers = createNumbering();
      const till: Till = {
        terminal,
        merchantId: merchant.merchant_id,
        terminalId: key.terminal_id,
        sale: ({ reference, ...fields } = {}) => ({
          ...cardPayment(numbers(), { amount: amount++, currency: merchant.currencies[0] ?? 'EUR', ...fields }),
          ...(reference === undefined ? {} : { merchant_reference: reference }),
        }),
        post: async (body, signed) => {
          const reply = await terminal.send(signed).catch(() => null); // a cut connection is a result: unknown
          history.record({
            at: new Date().toISOString(),
            kind: 'payment',
            key: signed.headers['idempotency-key'] ?? null,
            merchant_id: merchant.merchant_id,
            terminal_id: key.terminal_id,
            livemode: key.livemode,
            batch_number: body.batch_number,
            trace_number: body.trace_number,
            amount: body.amount,
            currency: body.currency,
            result: reply === null ? 'unknown' : resultOf(reply.status, String(reply.json['code'] ?? '')),
            http: reply?.status ?? null,
            body: reply?.text ?? null,
          });
          return reply;
        },
      };
      return till;
    }),
  );

  function sell(): ReturnType<Tills['sell']> {
    let answered = 0;
    let unknown = 0;
    let selling = true;
    const loops = all.map(async (till) => {
      while (selling) {
        const card = Math.random() < 0.1 ? cards.declined : cards.approved;
        if (await sellOnce(till, till.sale({ card }))) answered++;
        else unknown++;
        await pause(PAUSE_MS);
      }
    });
    return {
      answered: () => answered,
      unknown: () => unknown,
      stop: async () => {
        selling = false;
        await Promise.all(loops);
      },
    };
  }

  /** True: the terminal was told finally. */
  async function sellOnce(till: Till, body: PaymentBody): Promise<boolean> {
    const signed = till.terminal.sign('POST', '/v1/payments', JSON.stringify(body), { deadlineMs });
    for (let tries = 0; tries < TRIES; tries++) {
      const reply = await till.post(body, signed);
      if (reply?.status === 201) return true;
      await pause(RETRY_MS);
    }
    return false;
  }

  return {
    all,
    sell,
    historyFile,
    close: async () => {
      history.close();
      await agent.close();
    },
  };
}
