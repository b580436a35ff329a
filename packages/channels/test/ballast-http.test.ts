import { createServer } from 'node:net';
import { freePort } from '@ballast/database/embedded';
import { waitFor } from '@ballast/database/testing';
import { defaultRules } from '@ballast/resilience';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Charge, type HttpChannel, openHttpChannel } from '../src/index.ts';
import { type RunningBank, startBank } from './support/bank.ts';

let bank: RunningBank;
let channel: HttpChannel;
let count = 0;

/** A busy machine answers within this, and a test that waits for it is not slow. */
const TIMEOUT_MS = 500;
const rules = {
  ...defaultRules,
  timeout: { mode: 'fixed', ms: TIMEOUT_MS } as const,
  breaker: { ...defaultRules.breaker, minimumCalls: 10_000 },
  retry: { ...defaultRules.retry, retries: 0 },
};
const open = (url: string) =>
  openHttpChannel({
    name: 'bank_a',
    url,
    livemode: false,
    horizonMs: 1_000,
    keepsEarlyReversals: false,
    rules: { pay: rules, inquiry: rules, reversal: rules },
  });

const chargeOf = (extra: Partial<Charge> = {}): Charge => ({
  bankReference: `TEST${String(++count).padStart(24, '0')}`,
  merchantNumber: 'M1',
  terminalNumber: 'T1',
  amount: 1_000n,
  currency: 'EUR',
  livemode: false,
  instrument: {
    type: 'card',
    number: '4242424242424242',
    expiryMonth: 12,
    expiryYear: 2030,
    entryMode: 'chip',
    cvv: '123',
  },
  ...extra,
});
const within = (ms = 5_000) => ({
  sendBefore: performance.now() + ms,
  deadline: performance.now() + ms,
  traceparent: null,
  consumer: 'm',
});
const inBooks = (charge: Charge) =>
  bank.books().filter((entry) => entry['reference'] === charge.bankReference && entry['kind'] === 'charge');

beforeAll(async () => {
  bank = await startBank();
  channel = open(bank.url);
  // Its first answers take the compiler's time.
  await waitFor('an answer in time', async () => (await channel.pay(chargeOf(), within())).kind === 'approved');
});
afterEach(() => bank.script({}));
afterAll(async () => {
  await channel.close();
  await bank.close();
});

describe('a charge', () => {
  test('is approved with what the bank said', async () => {
    const charge = chargeOf();
    expect(await channel.pay(charge, within())).toMatchObject({
      kind: 'approved',
      amount: 1_000n,
      bankCode: '00',
      rrn: expect.stringMatching(/^\d{12}$/),
    });
    expect(inBooks(charge)).toHaveLength(1);
  });

  test('sent again under the same reference is the same charge', async () => {
    const charge = chargeOf();
    const [first, second] = [await channel.pay(charge, within()), await channel.pay(charge, within())];
    expect(second).toEqual(first);
    expect(inBooks(charge)).toHaveLength(1);
  });

  test('declined is an answer, and the channel stays healthy', async () => {
    const charge = chargeOf({
      instrument: { type: 'card', number: '4000000000000002', expiryMonth: 1, expiryYear: 2030, entryMode: 'chip' },
    });
    expect(await channel.pay(charge, within())).toMatchObject({ kind: 'declined', declineCode: 'insufficient_funds' });
  });

  test('of which only a part is approved says so', async () => {
    await bank.script({ rules: [{ behaviour: 'partial_approval' }] });
    expect(await channel.pay(chargeOf(), within())).toMatchObject({ kind: 'approved', amount: 500n });
  });

  test.each([
    ['timeout_before_accepting', 'timeout', 0],
    ['timeout_after_accepting', 'timeout', 1],
    ['late', 'timeout', 1],
    ['foreign_answer', 'mismatch_reference', 1],
    ['wrong_amount', 'mismatch_amount', 1],
    ['wrong_currency', 'mismatch_currency', 1],
    ['wrong_reference', 'mismatch_reference', 1],
    ['unknown_code', 'answer_not_understood', 1],
    ['server_error', 'http_500', 0],
    ['error_after_accepting', 'http_502', 1],
    ['too_many', 'http_429', 0],
    ['html', 'answer_not_understood', 1],
    ['empty', 'answer_not_understood', 1],
    ['truncated', 'und_err', 1],
    ['huge', 'answer_too_large', 1],
    ['gzip_bomb', '(answer_|timeout)', 1],
    ['trickle', 'timeout', 1],
    ['reset_before_accepting', 'econnreset', 0],
    ['reset_after_accepting', 'econnreset', 1],
    ['reset_in_answer', 'econnreset', 1],
    ['redirect', 'http_307', 0],
    ['pending', 'customer_must_confirm', 1],
  ])('is in doubt when the bank does %s', async (behaviour, reason, booked) => {
    await bank.script({ rules: [{ behaviour, times: 1 }] });
    const charge = chargeOf();
    const outcome = await channel.pay(charge, within());
    // A reset can be seen by us as ECONNRESET or as the other side closing, depending on what is read first.
    const reasons = reason === 'econnreset' || reason === 'und_err' ? /econnreset|und_err/ : new RegExp(`^${reason}`);
    expect(outcome).toMatchObject({ kind: 'in_doubt', reason: expect.stringMatching(reasons) });
    expect(inBooks(charge)).toHaveLength(booked);
    expect(JSON.stringify(outcome)).not.toContain('4242424242424242');
  });

  test('answered twice does not poison the next charge on the connection', async () => {
    await bank.script({ rules: [{ behaviour: 'answer_twice', times: 1 }] });
    expect(await channel.pay(chargeOf(), within())).toMatchObject({ kind: 'approved' });
    const next = await channel.pay(chargeOf(), within());
    expect(['approved', 'in_doubt', 'not_sent']).toContain(next.kind);
    const third = chargeOf();
    expect(await channel.pay(third, within())).toMatchObject({ kind: 'approved' });
    expect(inBooks(third)).toHaveLength(1);
  });

  test('is not sent when its time to send has passed', async () => {
    const charge = chargeOf();
    const outcome = await channel.pay(charge, { ...within(), sendBefore: performance.now() - 1 });
    expect(outcome).toEqual({
      kind: 'not_sent',
      reason: 'deadline_before_send',
      refusedByUs: false,
      retryAfterSeconds: null,
    });
    expect(inBooks(charge)).toHaveLength(0);
  });

  test('is provably not sent when nobody listens', async () => {
    const other = open(`http://127.0.0.1:${await freePort()}`);
    expect(await other.pay(chargeOf(), within())).toMatchObject({
      kind: 'not_sent',
      reason: 'econnrefused',
      refusedByUs: false,
    });
    await other.close();
  });

  test('is in doubt when whoever listens never answers', async () => {
    const server = createServer(() => undefined).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = server.address();
    const other = open(`http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`);
    expect(await other.pay(chargeOf(), within())).toMatchObject({ kind: 'in_doubt', reason: 'timeout' });
    await other.close();
    server.close();
  });

  test('refused by the gate is not sent, says so, and counts as our refusal', async () => {
    channel.policies.pay.setGate({ mode: 'forced_open', reason: 'test' });
    expect(channel.reserve('pay', 'm')).toMatchObject({ reason: 'gate' });
    expect(await channel.pay(chargeOf(), within())).toMatchObject({
      kind: 'not_sent',
      reason: 'refused_gate',
      refusedByUs: true,
    });
    channel.policies.pay.setGate({ mode: 'automatic' });
  });

  test('of the other mode is refused before anything is sent', async () => {
    await expect(channel.pay(chargeOf({ livemode: true }), within())).rejects.toThrow('BUG: live traffic');
  });
});

describe('an inquiry', () => {
  test('finds what the bank has, and says "not found" of what it has not', async () => {
    const charge = chargeOf();
    await channel.pay(charge, within());
    expect(await channel.inquire(charge, within())).toMatchObject({ kind: 'approved', amount: 1_000n });
    expect(await channel.inquire(chargeOf(), within())).toMatchObject({ kind: 'not_found' });
  });
});

describe('a reversal', () => {
  test('reverses once, however often it is sent', async () => {
    const charge = chargeOf();
    await channel.pay(charge, within());
    expect(await channel.reverse(charge, false, within())).toMatchObject({ kind: 'reversed', already: false });
    expect(await channel.reverse(charge, true, within())).toMatchObject({ kind: 'reversed', already: true });
    expect(
      bank.books().filter((entry) => entry['kind'] === 'reversal' && entry['reference'] === charge.bankReference),
    ).toHaveLength(1);
  });

  test('refused, unanswered or of the unknown is told apart', async () => {
    const charge = chargeOf();
    await channel.pay(charge, within());
    await bank.script({
      rules: [
        { behaviour: 'reversal_refused', times: 1 },
        { behaviour: 'reversal_unanswered', times: 1 },
      ],
    });
    expect(await channel.reverse(charge, false, within())).toMatchObject({ kind: 'refused', bankCode: '12' });
    expect(await channel.reverse(charge, true, within())).toMatchObject({ kind: 'in_doubt', reason: 'timeout' });
    expect(await channel.reverse(chargeOf(), false, within())).toMatchObject({ kind: 'not_found' });
  });
});

test("the bank's books survive kill -9, and it goes on from them", async () => {
  const charge = chargeOf();
  await channel.pay(charge, within());
  await bank.kill();
  await bank.restart();
  expect(await channel.inquire(charge, within())).toMatchObject({ kind: 'approved' });
  expect(inBooks(charge)).toHaveLength(1);
});
