// The payments of this process: what its verbs share, opened and closed together. A verb is a file of its own
// (take-payment.ts, void-payment.ts, find-payment.ts, resolve-doubt.ts) and gets this as its first argument.
import type { BankChannel } from '@ballast/channels';
import type { PaymentRequest, VoidRequest } from '@ballast/contracts';
import { type DatabaseClock, openGroupCommit } from '@ballast/database';
import { createSemaphore } from '@ballast/resilience';
import type { Logger } from '@ballast/telemetry';
import type { Knex } from 'knex';
import type { CardVault } from '../cards/vault.ts';
import type { Merchant, Route, TerminalIdentity } from '../merchants/directory.ts';
import { beforeDeadline } from './deadline.ts';
import { takeLateAnswer } from './late-answer.ts';
import { insertPayments, learn } from './payments.sql.ts';
import { defaultResolving, type Resolving } from './resolving.ts';

export interface TakePaymentCommand {
  readonly terminal: TerminalIdentity;
  readonly merchant: Merchant;
  readonly routes: readonly Route[];
  readonly request: PaymentRequest;
  readonly idempotencyKey: string;
  readonly deadlineMs: number;
  /** `performance.now()` at receipt: the deadline counts from here. */
  readonly receivedAt: number;
  readonly requestId: string;
  readonly traceparent: string | null;
}

export interface VoidPaymentCommand {
  readonly terminal: TerminalIdentity;
  readonly merchant: Merchant;
  readonly request: VoidRequest;
  readonly idempotencyKey: string;
  readonly deadlineMs: number;
  readonly receivedAt: number;
  readonly traceparent: string | null;
}

/** What a terminal is told. `final`: the body is the stored answer, the same bytes for ever. */
export interface Told {
  readonly status: number;
  readonly body: string;
  readonly replayed: boolean;
  /** Null: a void before its payment, which has no order yet. */
  readonly orderId: string | null;
  readonly retryAfterSeconds: number | null;
  readonly final: boolean;
}

/** What the terminal is told when its deadline comes before the answer; throws where that is a problem. */
export type SoFar = () => Told;

export interface PaymentsOptions {
  readonly knex: Knex;
  /** The resolver's own connections; default: the same. */
  readonly resolverKnex?: Knex;
  readonly databaseUrl: string;
  readonly channels: ReadonlyMap<string, BankChannel>;
  readonly vault: CardVault;
  readonly clock: DatabaseClock;
  /** Unique per process start: a restarted process is another owner of leases. */
  readonly owner: string;
  readonly logger: Logger;
  /** Another key, but the same terminal, card and amount within this time: the terminal is asked whether it means it; 0: never. */
  readonly duplicateWindowMs?: number;
  readonly resolving?: Resolving;
  /** An answer that was late, a stranger's, or twice: counted and alarmed. */
  readonly onOddAnswer?: (channel: string, kind: string) => void;
}

/** Payments accepted or learnt but not yet committed; beyond it new payments are refused before anything is stored. */
const MAX_WAITING = 5_000;

/**
 * Of the pool's connections (order-database.ts): so many for copies of known requests, so many for late answers. A storm of
 * either waits in its own line and leaves the rest to the directory and whoever looks at the metrics.
 */
const LOOKUPS = { maxInFlight: 4, maxWaiting: 200 };
const LATE_ANSWERS = { maxInFlight: 2, maxWaiting: 2_000 };
/** Of the five seconds that a service has for closing: for banks that are about to answer, also where the terminal has hung up. */
const LAST_ANSWERS_MS = 3_000;

export type PaymentsCore = ReturnType<typeof openPayments>;

export function openPayments(options: PaymentsOptions) {
  const connection = { connectionString: options.databaseUrl, maxWaiting: MAX_WAITING };
  const duplicateWindowMs = options.duplicateWindowMs ?? 0;
  const accept = openGroupCommit({
    ...connection,
    applicationName: 'collection accept',
    statement: insertPayments(duplicateWindowMs),
  });
  const learnt = openGroupCommit({ ...connection, applicationName: 'collection learn', statement: learn });
  const core = {
    ...options,
    duplicateWindowMs,
    /** Of `keyHash`. */
    keySecret: options.vault.fingerprint('idempotency keys').toString('hex'),
    resolverKnex: options.resolverKnex ?? options.knex,
    resolving: options.resolving ?? defaultResolving,
    /** Commit 1. */
    accept,
    /** Commit 2, and every later learning. */
    learnt,
    /** Payments of this process whose answer is not known yet, by order: copies of a request wait for it here. */
    inFlight: new Map<string, Promise<unknown>>(),
    lookups: createSemaphore(LOOKUPS),
    /** Late ones, and what could not be learnt under a lease. */
    lateAnswers: createSemaphore(LATE_ANSWERS),
    /** What is under way is still learnt, if the bank says it soon; a resolver asks for the rest. */
    async close(): Promise<void> {
      await accept.close();
      await beforeDeadline(
        Promise.allSettled(core.inFlight.values()),
        performance.now() + LAST_ANSWERS_MS,
        () => undefined,
      );
      await learnt.close();
    },
  };
  for (const channel of options.channels.values())
    channel.onLate((late) => void takeLateAnswer(core, channel.name, late));
  return core;
}
