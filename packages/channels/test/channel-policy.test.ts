// The policy at the wire: real banks, each a process of its own, and what an operator, a drill and a hanging bank do.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { waitFor } from '@ballast/database/testing';
import { type DrillPlan, defaultRules, type PolicyEvent, type PolicyRules } from '@ballast/resilience';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  builtInRules,
  type Charge,
  type HttpChannel,
  type LateAnswer,
  type Operation,
  openHttpChannel,
} from '../src/index.ts';
import { type RunningBank, startBank } from './support/bank.ts';

/** A busy machine answers within this, and a test that waits for it is not slow. */
const TIMEOUT_MS = 500;
const retry = { ...defaultRules.retry, baseMs: 1, longestMs: 1 };
const rules: PolicyRules = { ...defaultRules, timeout: { mode: 'fixed', ms: TIMEOUT_MS }, retry };

let ill: RunningBank;
let well: RunningBank;
const open: HttpChannel[] = [];
let count = 0;

beforeAll(async () => {
  [ill, well] = await Promise.all([startBank(), startBank()]);
  for (const bank of [ill, well]) {
    const { channel } = channelOf(bank);
    await waitFor('an answer in time', async () => (await channel.pay(chargeOf(), within())).kind === 'approved');
  }
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((channel) => channel.close()));
  await Promise.all([ill.script({}), well.script({})]);
});
afterAll(async () => {
  await Promise.all([ill.close(), well.close()]);
});

function channelOf(bank: RunningBank, change: Partial<PolicyRules> = {}) {
  const events: [operation: Operation, event: PolicyEvent][] = [];
  const all = { ...rules, ...change };
  const channel = openHttpChannel({
    name: 'bank_a',
    url: bank.url,
    livemode: false,
    horizonMs: 1_000,
    keepsEarlyReversals: false,
    rules: { pay: all, inquiry: all, reversal: all },
    listener: (operation, event) => events.push([operation, event]),
  });
  open.push(channel);
  const kinds = (of: Operation) => events.filter(([operation]) => operation === of).map(([, { kind }]) => kind);
  return { channel, events, kinds };
}

const chargeOf = (extra: Partial<Charge> = {}): Charge => ({
  bankReference: `POLY${String(++count).padStart(24, '0')}`,
  merchantNumber: 'M1',
  terminalNumber: 'T1',
  amount: 1_000n,
  currency: 'EUR',
  livemode: false,
  instrument: { type: 'code', code: '281234567890123456' },
  ...extra,
});
const within = (ms = 5_000, consumer = 'mer_1') => ({
  sendBefore: performance.now() + ms,
  deadline: performance.now() + ms,
  traceparent: null,
  consumer,
});
const booked = (bank: RunningBank, kind: string, reference: string) =>
  bank.books().filter((entry) => entry['kind'] === kind && entry['reference'] === reference);

describe('an operator', () => {
  test.each(['forced_open', 'draining'] as const)(
    'who sets %s stops payments, never inquiries and reversals',
    async (mode) => {
      const { channel } = channelOf(well);
      const charge = chargeOf();
      await channel.pay(charge, within());
      channel.setGate({ mode, reason: 'fraud desk asked, says alice' });
      const next = chargeOf();
      // Terminals are told so much, and nothing in the operator's words.
      expect(channel.reserve('pay', 'mer_1')).toEqual({ reason: 'gate', detail: mode, retryAfterSeconds: null });
      expect(await channel.pay(next, within())).toMatchObject({ kind: 'not_sent', refusedByUs: true });
      expect(booked(well, 'charge', next.bankReference)).toEqual([]);
      expect(await channel.inquire(charge, within())).toMatchObject({ kind: 'approved' });
      expect(await channel.reverse(charge, false, within())).toMatchObject({ kind: 'reversed' });
    },
  );

  test('who forces a channel open also stops what is admitted and not yet written', async () => {
    const { channel } = channelOf(well, { timeout: { mode: 'fixed', ms: 5_000 } });
    channel.policies.pay.startDrill({
      id: 'drl_1',
      fault: { kind: 'latency', ms: 100 },
      share: 1,
      traffic: 'all',
      durationMs: 60_000,
      stopWhen: { minimumCalls: 1_000, failureRate: null, slowestMs: null, breakerOpens: false },
    });
    const charge = chargeOf();
    const outcome = channel.pay(charge, within());
    channel.setGate({ mode: 'forced_open', reason: 'test' });
    expect(await outcome).toMatchObject({ kind: 'not_sent', reason: 'gate_before_send' });
    expect(booked(well, 'charge', charge.bankReference)).toEqual([]);
  });

  test('changes the rules of one operation at run time, and no other', async () => {
    const { channel } = channelOf(well);
    const limit = { algorithm: 'token_bucket', perSecond: 0.001, burst: 1 } as const;
    const rate = { mode: 'enforce', scope: 'instance', warmUpMs: 0, limit } as const;
    channel.policies.pay.applyRules({ ...rules, version: 2, rate });
    const charge = chargeOf();
    expect(await channel.pay(charge, within())).toMatchObject({ kind: 'approved' });
    expect(channel.reserve('pay', 'mer_1')).toMatchObject({ reason: 'rate' });
    expect(await channel.pay(chargeOf(), within())).toMatchObject({ kind: 'not_sent', reason: 'refused_rate' });
    expect(await channel.inquire(charge, within())).toMatchObject({ kind: 'approved' });
  });

  test("limits one merchant's payments and nobody else's", async () => {
    const { channel } = channelOf(well, { quota: { mode: 'enforce', scope: 'instance', perSecond: 0.001, burst: 1 } });
    const pay = (consumer: string) => channel.pay(chargeOf(), within(5_000, consumer));
    expect(await pay('mer_1')).toMatchObject({ kind: 'approved' });
    expect(channel.reserve('pay', 'mer_1')).toMatchObject({ reason: 'quota' });
    expect(await pay('mer_1')).toMatchObject({ kind: 'not_sent', reason: 'refused_quota' });
    expect(await pay('mer_2')).toMatchObject({ kind: 'approved' });
  });
});

describe('a retry', () => {
  test('of a charge that was never sent is made three times, and then it still was never sent', async () => {
    const { channel, kinds } = channelOf(ill);
    await ill.kill();
    const charge = chargeOf();
    expect(await channel.pay(charge, within())).toMatchObject({ kind: 'not_sent', refusedByUs: false });
    expect(kinds('pay').filter((kind) => kind === 'retry')).toHaveLength(3);
    await ill.restart();
    expect(await channel.pay(charge, within())).toMatchObject({ kind: 'approved' });
    expect(booked(ill, 'charge', charge.bankReference)).toHaveLength(1);
  });

  test.each(['reset_after_accepting', 'error_after_accepting', 'server_error', 'too_many'])(
    'of a charge that may have been sent is never made (%s)',
    async (behaviour) => {
      const { channel, kinds } = channelOf(ill);
      await ill.script({ rules: [{ behaviour, times: 1 }] });
      expect(await channel.pay(chargeOf(), within())).toMatchObject({ kind: 'in_doubt' });
      expect(kinds('pay')).not.toContain('retry');
    },
  );

  test('of an inquiry finds the answer at the second try', async () => {
    const { channel } = channelOf(ill);
    const charge = chargeOf();
    await channel.pay(charge, within());
    await ill.script({ rules: [{ behaviour: 'server_error', operation: 'inquiry', times: 1 }] });
    expect(await channel.inquire(charge, within())).toMatchObject({ kind: 'approved' });
  });

  test('of a reversal carries the repeat mark, and reverses once', async () => {
    const { channel, kinds } = channelOf(ill);
    const charge = chargeOf();
    await channel.pay(charge, within());
    await ill.script({ rules: [{ behaviour: 'reversal_unanswered', times: 1 }] });
    expect(await channel.reverse(charge, false, within())).toMatchObject({ kind: 'reversed', already: true });
    expect(kinds('reversal')).toContain('retry');
    expect(booked(ill, 'reversal', charge.bankReference)).toHaveLength(1);
  });

  test('that could not be sent leaves in doubt what an earlier try may have sent', async () => {
    // Takes one request, resets, and is gone: the first try may have been read, the others are refused a connection.
    const server = createServer((socket) => {
      socket.once('data', () => {
        server.close();
        socket.resetAndDestroy();
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const { channel } = channelOf({ ...ill, url: `http://127.0.0.1:${port}` });
    expect(await channel.reverse(chargeOf(), false, within())).toEqual({
      kind: 'in_doubt',
      reason: 'econnrefused',
      evidence: null,
    });
  });
});

test('an answer that is only late is kept, read and told with its identity', async () => {
  const { channel } = channelOf(ill);
  const late: LateAnswer[] = [];
  channel.onLate((answer) => late.push(answer));
  await ill.script({ rules: [{ behaviour: 'late', delay_ms: TIMEOUT_MS + 200, times: 1 }] });
  const charge = chargeOf();
  expect(await channel.pay(charge, within())).toMatchObject({ kind: 'in_doubt', reason: 'timeout' });
  await waitFor('the late answer', async () => late.length > 0);
  expect(late).toMatchObject([
    {
      operation: 'pay',
      identity: { bankReference: charge.bankReference },
      consumer: 'mer_1',
      outcome: { kind: 'approved' },
    },
  ]);
  await waitFor('its slot', async () => channel.policies.pay.snapshot().inFlight === 0);
});

test('inquiries and reversals are paced by what the bank was declared with, payments are not', async () => {
  const { pay, inquiry, reversal } = builtInRules({ timeout_ms: 1_000, paced_per_second: 20 });
  expect([pay.rate.mode, inquiry.rate.limit, reversal.rate.limit]).toEqual([
    'off',
    { algorithm: 'paced', perSecond: 20, maxWaiting: 1_000 },
    { algorithm: 'paced', perSecond: 20, maxWaiting: 1_000 },
  ]);
  const { channel } = channelOf(well);
  channel.policies.inquiry.applyRules(inquiry);
  const begun = performance.now();
  const asked = await Promise.all(Array.from({ length: 11 }, () => channel.inquire(chargeOf(), within())));
  expect(asked.every(({ kind }) => kind === 'not_found')).toBe(true);
  expect(performance.now() - begun).toBeGreaterThanOrEqual(490); // ten turns of 50 ms, however fast the bank is
});

describe('a drill', () => {
  const plan: DrillPlan = {
    id: 'drl_1',
    fault: { kind: 'reset' },
    share: 1,
    traffic: 'coloured',
    durationMs: 60_000,
    stopWhen: { minimumCalls: 1_000, failureRate: null, slowestMs: null, breakerOpens: false },
  };

  test.each<[DrillPlan['fault'], string, number]>([
    [{ kind: 'timeout' }, 'timeout', 0],
    [{ kind: 'reset' }, 'econnreset', 0],
    [{ kind: 'server_error', status: 503 }, 'http_503', 0],
    [{ kind: 'wrong_amount' }, 'mismatch_amount', 1],
    [{ kind: 'trickle', bytesPerSecond: 1 }, 'timeout', 1],
    [{ kind: 'latency', ms: 10_000 }, 'timeout_before_send', 0],
  ])('with %j leaves what a bank that does so would leave', async (fault, reason, charges) => {
    const { channel } = channelOf(well);
    channel.policies.pay.startDrill({ ...plan, fault });
    const charge = chargeOf();
    const outcome = await channel.pay(charge, within());
    expect(outcome).toMatchObject({ kind: fault.kind === 'latency' ? 'not_sent' : 'in_doubt', reason });
    expect(booked(well, 'charge', charge.bankReference)).toHaveLength(charges);
    channel.policies.pay.stopDrill('test');
    expect(await channel.pay(chargeOf(), within())).toMatchObject({ kind: 'approved' });
  });

  test("with a duplicate answer gives an earlier call's answer, which is doubt", async () => {
    const { channel } = channelOf(well);
    channel.policies.pay.startDrill({ ...plan, fault: { kind: 'duplicate_answer' } });
    expect(await channel.pay(chargeOf(), within())).toMatchObject({ kind: 'approved' });
    expect(await channel.pay(chargeOf(), within())).toMatchObject({ kind: 'in_doubt', reason: 'mismatch_reference' });
  });
});

test('one bank hanging at 100 % leaves the calls of another alone, and is spared by its own breaker', async () => {
  const lame: Partial<PolicyRules> = { bulkhead: { maxInFlight: 20, maxWaiting: 20 } };
  const hanging = channelOf(ill, lame);
  const healthy = channelOf(well, lame);
  await ill.script({ rules: [{ behaviour: 'timeout_before_accepting' }] });
  const deadlineMs = 2_000;
  let longest = 0;
  const outcomes = { hanging: [] as string[], healthy: [] as string[] };
  for (let round = 0; round < 20; round++) {
    const one = async (channel: HttpChannel, into: string[]) => {
      const begun = performance.now();
      into.push((await channel.pay(chargeOf(), within(deadlineMs))).kind);
      longest = Math.max(longest, performance.now() - begun);
    };
    const stuck = Array.from({ length: 10 }, () => one(hanging.channel, outcomes.hanging));
    await Promise.all(Array.from({ length: 10 }, () => one(healthy.channel, outcomes.healthy)));
    if (round === 19) await Promise.all(stuck);
    else void Promise.all(stuck);
  }
  await waitFor('the calls to the hanging bank', async () => outcomes.hanging.length === 200);
  expect(outcomes.healthy).toEqual(Array(200).fill('approved'));
  expect(new Set(outcomes.hanging)).toEqual(new Set(['in_doubt', 'not_sent']));
  expect(hanging.channel.policies.pay.snapshot().state).toBe('open');
  expect(healthy.channel.policies.pay.snapshot()).toMatchObject({ state: 'closed', window: { failures: 0 } });
  expect(hanging.kinds('pay')).not.toContain('retry');
  expect(longest).toBeLessThan(deadlineMs + 500); // a bound, not a benchmark
});
