// The terminals of a scenario: one payment per bank and habit. Everything they saw goes into a history for the checker.
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Reply, SignedRequest } from '../../scripts/system/terminal.ts';
import { type Operation, openHistory, resultOf } from '../checker/history.ts';
import { cardOf, type SweptBank, sweptBanks } from './behaviours.ts';
import { MERCHANT, type Scene, TERMINAL } from './scene.ts';

/** What the terminal does when it got no answer: sends the same again, says nothing, or voids. */
const habits = ['retries', 'silent', 'voids'] as const;
export type Habit = (typeof habits)[number];

export interface Till {
  readonly bank: SweptBank;
  readonly habit: Habit;
  readonly number: { readonly batch_number: string; readonly trace_number: string };
  /** The first sending; null: the connection was cut. */
  pay(): Promise<Reply | null>;
  /** As often as it takes for a final answer (retries), or until a void is acknowledged (voids), and then no more. */
  insist(): Promise<void>;
  void(): Promise<Reply | null>;
  look(): Promise<Reply | null>;
  /** Everything that was sent so far, once more. */
  repeat(): Promise<void>;
}

const AMOUNT = 1_250;
const DEADLINE_MS = 2_000;
const INSIST_MS = 30_000;
const PAUSE_MS = 300;

export function openTills(scene: Scene, banks: readonly SweptBank[]): { tills: Till[]; close(): void } {
  const history = openHistory(scene.file('terminals.history.jsonl'));
  let trace = 0;
  const tills = habits.flatMap((habit) => banks.map((bank) => openTill(bank, habit, ++trace)));
  return { tills, close: history.close };

  function openTill(bank: SweptBank, habit: Habit, traceNumber: number): Till {
    const number = { batch_number: '000001', trace_number: String(traceNumber).padStart(6, '0') };
    const body = JSON.stringify({
      ...number,
      amount: AMOUNT,
      currency: 'EUR',
      transaction_time: new Date().toISOString(),
      payment_method: {
        type: 'card',
        number: cardOf(sweptBanks.indexOf(bank)),
        expiry_month: 12,
        expiry_year: 2030,
        entry_mode: 'chip',
      },
    });
    const options = { deadlineMs: DEADLINE_MS };
    const payment = scene.terminal.sign('POST', '/v1/payments', body, { ...options, idempotencyKey: randomUUID() });
    const voidBody = JSON.stringify({ ...number, transaction_time: new Date().toISOString(), reason: 'other' });
    const cancel = scene.terminal.sign('POST', '/v1/voids', voidBody, { ...options, idempotencyKey: randomUUID() });
    let voided = false;
    let acknowledged = false;

    async function send(kind: Operation['kind'], signed: SignedRequest): Promise<Reply | null> {
      const reply = await scene.terminal.send(signed).catch(() => null); // cut: unknown
      history.record({
        at: new Date().toISOString(),
        kind,
        key: kind === 'get' ? null : (signed.headers['idempotency-key'] ?? null),
        merchant_id: MERCHANT,
        terminal_id: TERMINAL,
        livemode: false,
        ...number,
        amount: kind === 'payment' ? AMOUNT : null,
        currency: kind === 'payment' ? 'EUR' : null,
        result: reply === null ? 'unknown' : resultOf(reply.status, String(reply.json['code'])),
        http: reply?.status ?? null,
        body: reply?.text ?? null,
      });
      return reply;
    }

    const pay = () => send('payment', payment);
    const sendVoid = async () => {
      voided = true;
      const reply = await send('void', cancel);
      // 409 also says that the order is moving: then the same void is sent again.
      acknowledged ||= reply !== null && (reply.status < 300 || reply.json['code'] === 'not_voidable');
      return reply;
    };
    return {
      bank,
      habit,
      number,
      pay,
      void: sendVoid,
      insist: async () => {
        if (habit === 'silent') return;
        const until = performance.now() + INSIST_MS;
        for (let ended = acknowledged; !ended && performance.now() < until; ) {
          if (habit === 'retries') ended = (await pay())?.status === 201;
          else if (await sendVoid()) ended = acknowledged;
          if (!ended) await pause(PAUSE_MS);
        }
      },
      look: () => {
        const query = `batch_number=${number.batch_number}&trace_number=${number.trace_number}`;
        return send('get', scene.terminal.sign('GET', `/v1/payments?${query}`, ''));
      },
      repeat: async () => {
        // What a silent terminal sent may never have been stored; sent again it would be a payment like any other.
        if (habit === 'retries') await pay();
        if (voided) await sendVoid();
      },
    };
  }
}
