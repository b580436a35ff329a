// The payments of one instance (or several) inside the test's process, on a database of their own, against the real bank
// simulator in a process of its own: for tests that look at one verb, or make two of them race.
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type HttpChannel, openHttpChannel } from '@ballast/channels';
import type { PaymentRequest } from '@ballast/contracts';
import { type Knex, migrate, openDatabase, startDatabaseClock } from '@ballast/database';
import { freshDatabase } from '@ballast/database/testing';
import { defaultRules, type PolicyRules } from '@ballast/resilience';
import { createLogger } from '@ballast/telemetry';
import { openMasterKeys } from '../../src/cards/master-keys.ts';
import { openVault } from '../../src/cards/vault.ts';
import type { Route } from '../../src/merchants/directory.ts';
import {
  openPayments,
  type PaymentsCore,
  type PaymentsOptions,
  type TakePaymentCommand,
  type Told,
} from '../../src/payments/core.ts';
import { defaultResolving, type Resolving } from '../../src/payments/resolving.ts';
import { takePayment } from '../../src/payments/take-payment.ts';
import { voidPayment } from '../../src/payments/void-payment.ts';
import { ensurePartitions } from '../../src/workers/partitions.ts';
import { type BankSetting, type Book, type SimulatedBanks, startBanks } from './simulated-banks.ts';

export const MERCHANT = '019a0000-0000-7000-8000-00000000000a';
export const terminal = {
  terminalId: '019a0000-0000-7000-8000-0000000000a1',
  merchantId: MERCHANT,
  livemode: false,
} as const;
const merchant = {
  merchantId: MERCHANT,
  timeZone: 'Europe/Berlin',
  cutover: '00:00',
  currencies: new Set(['EUR']),
  voidWindowMs: 3_600_000,
};

/** Seconds become milliseconds: what a test waits for comes soon. */
export const quickResolving: Resolving = {
  ...defaultResolving,
  callMs: 1_000,
  leaseMarginMs: 500,
  firstDelayMs: 1,
  longestDelayMs: 5,
  reversalsBeforePerson: 3,
  silenceBeforePersonMs: 600_000,
};

export interface TestPayments {
  readonly core: PaymentsCore;
  readonly knex: Knex;
  readonly databaseUrl: string;
  readonly channels: ReadonlyMap<string, HttpChannel>;
  /** Another instance on the same database. */
  instance(owner: string, extra?: Partial<PaymentsOptions>): Promise<PaymentsCore>;
  command(extra?: Partial<PaymentRequest>, terms?: Partial<TakePaymentCommand>): TakePaymentCommand;
  pay(
    command?: TakePaymentCommand,
    core?: PaymentsCore,
  ): Promise<Told & { order: string; json: Record<string, unknown> }>;
  /** Voids the payment with this number. */
  cancel(
    of: { batch_number: string; trace_number: string; transaction_time?: string },
    core?: PaymentsCore,
    idempotencyKey?: string,
  ): Promise<Told>;
  readonly script: SimulatedBanks['script'];
  readonly heal: SimulatedBanks['heal'];
  readonly bankUrl: SimulatedBanks['url'];
  /** For another instance: its channels, with other addresses or rules. */
  channelsTo(urls: Readonly<Record<string, string>>, rules?: PolicyRules): Map<string, HttpChannel>;
  books(bank?: string): Book[];
  order(orderId: string): Promise<Record<string, unknown>>;
  attempts(orderId: string): Promise<Record<string, unknown>[]>;
  /** The journal's types in order; throws when a version is missing. */
  events(orderId: string): Promise<string[]>;
  /** As if this much time had passed for the order: lease, approve_until, last send and acceptance. */
  age(orderId: string, ms: number): Promise<void>;
  close(): Promise<void>;
}

export interface TestPaymentsOptions {
  readonly label: string;
  readonly banks?: readonly BankSetting[];
  readonly horizonMs?: number;
  readonly timeoutMs?: number;
  readonly core?: Partial<PaymentsOptions>;
  /** Instead of a bank's own address: a proxy's, or where nobody is. */
  readonly urls?: Readonly<Record<string, string>>;
}

export async function openTestPayments(options: TestPaymentsOptions): Promise<TestPayments> {
  const { label, banks = [{ name: 'bank_a' }], horizonMs = 0, timeoutMs = 300 } = options;
  const database = await freshDatabase(label);
  const directory = mkdtempSync(join(tmpdir(), 'ballast-payments-'));
  const simulated = await startBanks(directory, banks);
  const knex = openDatabase({ url: database.url, applicationName: `test ${label}`, poolMax: 8 });
  await migrate(knex, new URL('../../migrations/', import.meta.url));
  const clock = await startDatabaseClock(knex);
  await ensurePartitions(knex, clock.now());
  const keys = openMasterKeys({
    current: 'k1',
    keys: { k1: randomBytes(32).toString('base64') },
    fingerprint: randomBytes(32).toString('base64'),
  });
  const vault = await openVault({
    knex,
    keys,
    refundWindowDays: 180,
    now: clock.now,
    onError: (error) => logger.error({ err: error }),
  });
  const logger = createLogger({ service: 'test', level: 'silent' });
  const rules: PolicyRules = {
    ...defaultRules,
    timeout: { mode: 'fixed', ms: timeoutMs },
    retry: { ...defaultRules.retry, retries: 0 },
    breaker: { ...defaultRules.breaker, minimumCalls: 100_000 },
  };
  const openChannels = (urls: Readonly<Record<string, string>> = {}, all = rules) =>
    new Map(
      banks.map(({ name }) => [
        name,
        openHttpChannel({
          name,
          url: urls[name] ?? simulated.url(name),
          livemode: false,
          horizonMs,
          keepsEarlyReversals: false,
          rules: { pay: all, inquiry: all, reversal: all },
        }),
      ]),
    );
  const opened: PaymentsCore[] = [];

  async function instance(owner: string, extra: Partial<PaymentsOptions> = {}): Promise<PaymentsCore> {
    const core = openPayments({
      knex,
      databaseUrl: database.url,
      channels: openChannels(options.urls),
      vault,
      clock,
      owner,
      logger,
      resolving: quickResolving,
      ...options.core,
      ...extra,
    });
    opened.push(core);
    return core;
  }
  const core = await instance('test-1');

  let trace = 0;
  const command: TestPayments['command'] = (extra = {}, terms = {}) => ({
    terminal,
    merchant,
    routes: banks.map(({ name }) => routeTo(name)),
    request: {
      amount: 1_250n,
      currency: 'EUR',
      batch_number: '000001',
      trace_number: String(++trace).padStart(6, '0'),
      transaction_time: new Date().toISOString(),
      payment_method: {
        type: 'card',
        number: '4242424242424242',
        expiry_month: 12,
        expiry_year: 2030,
        entry_mode: 'chip',
      },
      ...extra,
    },
    idempotencyKey: randomUUID(),
    deadlineMs: 2_000,
    receivedAt: performance.now(),
    requestId: 'test',
    traceparent: null,
    ...terms,
  });

  return {
    core,
    knex,
    databaseUrl: database.url,
    channels: core.channels as ReadonlyMap<string, HttpChannel>,
    instance,
    command,
    pay: async (paid = command(), by = core) => {
      const told = await takePayment(by, paid);
      return { ...told, order: told.orderId ?? '', json: JSON.parse(told.body) };
    },
    cancel: (of, by = core, idempotencyKey = randomUUID()) =>
      voidPayment(by, {
        terminal,
        merchant,
        request: {
          batch_number: of.batch_number,
          trace_number: of.trace_number,
          transaction_time: of.transaction_time ?? new Date().toISOString(),
          reason: 'other',
        },
        idempotencyKey,
        deadlineMs: 5_000,
        receivedAt: performance.now(),
        traceparent: null,
      }),
    script: simulated.script,
    heal: simulated.heal,
    bankUrl: simulated.url,
    channelsTo: openChannels,
    books: (bank = 'bank_a') => simulated.books(bank),
    order: async (orderId) => (await knex.raw('select * from orders where order_id = ?', [orderId])).rows[0],
    attempts: async (orderId) =>
      (await knex.raw('select * from attempt where order_id = ? order by attempt_no', [orderId])).rows,
    events: async (orderId) => {
      const { rows } = await knex.raw('select version, type from order_event where order_id = ? order by version', [
        orderId,
      ]);
      rows.forEach(({ version }: { version: number }, index: number) => {
        if (version !== index + 1) throw new Error(`version ${index + 1} of ${orderId} is missing`);
      });
      return rows.map(({ type }: { type: string }) => type);
    },
    age: async (orderId, ms) => {
      await knex.raw(
        `with older as (
           update attempt set last_send_at = last_send_at - :ms * interval '1 ms' where order_id = :orderId
         )
         update orders set lease_until = lease_until - :ms * interval '1 ms',
           approve_until = approve_until - :ms * interval '1 ms', voidable_until = voidable_until - :ms * interval '1 ms'
         where order_id = :orderId`,
        { ms, orderId },
      );
    },
    close: async () => {
      for (const one of opened) await one.close();
      for (const one of opened) for (const channel of one.channels.values()) await channel.close();
      clock.close();
      vault.close();
      await knex.destroy();
      await simulated.close();
      await database.drop();
      rmSync(directory, { recursive: true });
    },
  };
}

export function routeTo(channel: string, extra: Partial<Route> = {}): Route {
  return {
    channel,
    method: 'card',
    currency: null,
    binPrefix: null,
    weight: 1,
    merchantNumber: 'M1',
    terminalNumber: 'T1',
    ...extra,
  };
}
