// The races: what two verbs do to one order at the same moment, and how one sees that it was one effect. Each round has an
// order of its own; rounds run side by side, so that batches, pools and locks are shared as in earnest.
import { setTimeout as pause } from 'node:timers/promises';
import { closeWindow } from '../../src/payments/close-window.ts';
import type { PaymentsCore } from '../../src/payments/core.ts';
import { takeLateAnswer } from '../../src/payments/late-answer.ts';
import { dueOrders } from '../../src/payments/leases.sql.ts';
import { resolveDoubt } from '../../src/payments/resolve-doubt.ts';
import { MERCHANT, openTestPayments, type TestPayments } from './open-payments.ts';
import { wrongVersions } from './versions.ts';

interface Race {
  /** How the order is before the race. */
  prepare(t: TestPayments): Promise<{ order: string; number: { batch_number: string; trace_number: string } }>;
  /** The two at once. */
  meet(
    t: TestPayments,
    both: readonly [PaymentsCore, PaymentsCore],
    at: Awaited<ReturnType<Race['prepare']>>,
  ): Promise<unknown>;
  /** The journals that are right; the order is resolved to its end before this is asked. */
  readonly right: readonly string[];
}

const silentCharge = { rules: [{ behaviour: 'timeout_after_accepting', operation: 'charge' }] };

async function inDoubt(t: TestPayments) {
  const command = t.command();
  const { order } = await t.pay(command);
  return { order, number: command.request };
}

async function approved(t: TestPayments) {
  const command = t.command();
  const { order } = await t.pay(command);
  return { order, number: command.request };
}

export const races = {
  'a void against a late approval': {
    prepare: inDoubt,
    meet: async (t, [one, other], { order, number }) =>
      Promise.all([t.cancel(number, one), takeLateAnswer(other, 'bank_a', await lateApproval(t, order))]),
    // Whichever comes first, the money goes back: a void of an approved order within its window undoes it. An approval that
    // comes second is kept with the attempt.
    right: ['accepted in_doubt reversing attempt_changed reversed', 'accepted in_doubt approved reversing reversed'],
  },
  'two resolvers on one attempt': {
    prepare: inDoubt,
    meet: async (t, both, { order }) => {
      await t.knex.raw("update orders set lease_until = now() - interval '1 ms' where order_id = ?", [order]);
      const due = await dueOrders(t.knex, [{ channel: 'bank_a', work: 'inquire' }], 10_000, false);
      const candidate = due.find((one) => one.order_id === order);
      if (candidate === undefined) throw new Error(`${order} is not due`);
      const ends = await Promise.all(both.map((core) => resolveDoubt(core, candidate)));
      if (ends.filter(({ kind }) => kind === 'gone').length !== 1) throw new Error(`both resolved ${order}`);
    },
    right: ['accepted in_doubt approved'],
  },
  'the closing of a window against a void': {
    prepare: approved,
    // A void looks the order up first: a small random handicap lets either be first.
    meet: (t, [one, other], { order, number }) =>
      Promise.allSettled([
        pause(Math.random() * MOST_HANDICAP_MS).then(() => closeWindow(one, MERCHANT, order, null)),
        t.cancel(number, other),
      ]),
    right: ['accepted approved window_closed', 'accepted approved reversing reversed'],
  },
} as const satisfies Record<string, Race>;

const MOST_HANDICAP_MS = 30;

/** Rounds side by side. */
const AT_ONCE = 20;

export async function runRace(
  name: keyof typeof races,
  rounds: number,
): Promise<{ rounds: number; wrong: string[]; ways: Record<string, number> }> {
  const race: Race = races[name];
  const silent = race.prepare === inDoubt;
  const t = await openTestPayments({ label: 'race', timeoutMs: silent ? 150 : 1_500 });
  try {
    const other = await t.instance('test-2');
    if (silent) await t.script('bank_a', silentCharge);
    const wrong: string[] = [];
    const ways: Record<string, number> = {};
    let left = rounds;
    const worker = async () => {
      while (left-- > 0) {
        const at = await race.prepare(t);
        await race.meet(t, [t.core, other], at);
        await finish(t, at.order);
        const journal = (await t.events(at.order)).join(' ');
        ways[journal] = (ways[journal] ?? 0) + 1;
        if (!race.right.includes(journal)) wrong.push(`${at.order}: ${journal}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    wrong.push(...(await wrongVersions(t.knex)), ...(await againstTheBooks(t)));
    return { rounds: Object.values(ways).reduce((sum, count) => sum + count, 0), wrong, ways };
  } finally {
    await t.close();
  }
}

/** Resolved to its end: a busy machine may have let the bank's answer come too late in the race itself. */
async function finish(t: TestPayments, order: string): Promise<void> {
  const lines = [
    { channel: 'bank_a', work: 'inquire' },
    { channel: 'bank_a', work: 'reverse' },
  ] as const;
  for (let tries = 0; tries < 500 && (await t.order(order))['work'] !== null; tries++) {
    await t.knex.raw("update orders set lease_until = now() - interval '1 ms' where order_id = ?", [order]);
    const candidate = (await dueOrders(t.knex, lines, 10_000, false)).find((one) => one.order_id === order);
    if (candidate !== undefined) await resolveDoubt(t.core, candidate);
  }
}

/** One standing charge per approved order, none per reversed one, and no charge reversed twice. */
async function againstTheBooks(t: TestPayments): Promise<string[]> {
  const { rows } = await t.knex.raw(
    'select o.status, a.bank_reference from orders o join attempt a using (merchant_id, order_id)',
  );
  const books = t.books();
  return rows.flatMap(({ status, bank_reference }: { status: string; bank_reference: string }) => {
    const own = books.filter(({ reference }) => reference === bank_reference);
    const reversals = own.filter(({ kind }) => kind === 'reversal').length;
    const charges = own.filter(({ kind, result }) => kind === 'charge' && result === 'approved').length;
    const right = charges === 1 && reversals === (status === 'reversed' ? 1 : 0);
    return right ? [] : [`${bank_reference}: ${status}, ${charges} charges, ${reversals} reversals`];
  });
}

async function lateApproval(t: TestPayments, order: string) {
  const [attempt] = await t.attempts(order);
  return {
    operation: 'pay' as const,
    consumer: MERCHANT,
    identity: {
      bankReference: String(attempt?.['bank_reference']),
      merchantNumber: 'M1',
      terminalNumber: 'T1',
      amount: 1_250n,
      currency: 'EUR',
      livemode: false,
    },
    outcome: {
      kind: 'approved' as const,
      amount: 1_250n,
      rrn: '1',
      authorizationCode: '2',
      bankCode: '00',
      evidence: { request: '', response: '', httpStatus: 200 },
    },
  };
}
