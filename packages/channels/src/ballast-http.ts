// The adapter for banks that speak JSON over HTTP (services/bank-simulator/README.md describes the protocol). One
// connection pool per channel, one policy per operation; nothing of one channel is shared with another.
import {
  type CallContext,
  type ChannelPolicy,
  createChannelPolicy,
  createRetryBudget,
  defaultRules,
  type Gate,
  type PolicyEvent,
  type PolicyRules,
  type Refusal,
  type RetrySafety,
} from '@ballast/resilience';
import { Pool } from 'undici';
import { type Read, readCharge, readInquiry, readReversal } from './answers.ts';
import type {
  BankChannel,
  CallOptions,
  ChargeIdentity,
  ChargeOutcome,
  InquiryOutcome,
  Instrument,
  LateAnswer,
  ReversalOutcome,
} from './bank-channel.ts';
import { createFaults } from './drill-faults.ts';
import { type Exchange, type ExchangeRequest, exchange } from './exchange.ts';

export type Operation = 'pay' | 'inquiry' | 'reversal';

export interface HttpChannelOptions {
  readonly name: string;
  readonly url: string;
  readonly livemode: boolean;
  readonly horizonMs: number;
  readonly keepsEarlyReversals: boolean;
  readonly token?: string;
  readonly rules?: Partial<Record<Operation, PolicyRules>>;
  /** Called before each call; collection throws here when a transaction is open. */
  readonly beforeCall?: (what: string) => void;
  readonly listener?: (operation: Operation, event: PolicyEvent) => void;
}

export interface HttpChannel extends BankChannel {
  readonly policies: Readonly<Record<Operation, ChannelPolicy>>;
  /** For the whole channel. What keeps calls away holds for payments only, never for inquiries and reversals. */
  setGate(gate: Gate): void;
}

const CONNECT_TIMEOUT_MS = 2_000;
/** Idle connections are closed before a bank's usual 60 s, so that none dies while it is being written to. */
const KEEP_ALIVE_MS = 4_000;
/** After a timeout the connection is kept this long for an answer that is only late: it says more than an inquiry can. */
const LATE_ANSWER_MS = 2_000;

/** A charge is sent again only if the first provably never left; the bank knows inquiries and reversals by reference. */
const retrySafety: Record<Operation, RetrySafety> = { pay: 'not_sent', inquiry: 'always', reversal: 'always' };

type Told = ChargeOutcome | InquiryOutcome | ReversalOutcome;

/** One business call, asked once or several times. */
interface Asked {
  readonly identity: ChargeIdentity;
  readonly method: ExchangeRequest['method'];
  readonly path: string;
  /** `again`: an earlier try of this call may have reached the bank. */
  readonly body: (again: boolean) => string | null;
}

export function openHttpChannel(options: HttpChannelOptions): HttpChannel {
  const { listener } = options;
  const lateListeners: ((late: LateAnswer) => void)[] = [];
  const retryBudget = createRetryBudget();
  const withFault = createFaults();
  const policies = { pay: policyOf('pay'), inquiry: policyOf('inquiry'), reversal: policyOf('reversal') };
  const pool = new Pool(options.url, {
    // As many as the bulkheads admit, also after their rules changed: a call never queues in here, out of the deadline's sight.
    connections: null,
    pipelining: 1,
    connect: { timeout: CONNECT_TIMEOUT_MS },
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: 0, // the policy's timeout is the only one
    bodyTimeout: 0,
  });

  function policyOf(operation: Operation): ChannelPolicy {
    return createChannelPolicy({
      channel: options.name,
      operation,
      rules: options.rules?.[operation] ?? defaultRules,
      retrySafety: retrySafety[operation],
      retryBudget,
      essential: operation !== 'pay',
      ...(listener === undefined ? {} : { listener: (event) => listener(operation, event) }),
    });
  }

  async function call<T extends Told>(
    operation: Operation,
    asked: Asked,
    callOptions: CallOptions,
    read: (reply: Exchange) => Read<T>,
  ): Promise<T | Extract<ChargeOutcome, { kind: 'in_doubt' | 'not_sent' }>> {
    options.beforeCall?.(`${options.name} ${operation}`);
    const { deadline, consumer, reservation } = callOptions;
    let started = false;
    const result = await policies[operation].run(
      async (context) => {
        const reply = await ask(asked, callOptions, context, started, () => {
          started = true;
        });
        const { outcome, healthy } = read(reply);
        if (reply.kind === 'response' && context.signal.aborted)
          for (const told of lateListeners) told({ operation, identity: asked.identity, consumer, outcome });
        if (healthy) return { kind: 'success', value: outcome };
        return { kind: outcome.kind === 'not_sent' ? 'not_sent' : 'technical', value: outcome };
      },
      { deadline, consumer, coloured: !options.livemode, ...(reservation === undefined ? {} : { reservation }) },
    );
    switch (result.kind) {
      case 'answered':
        // The last try may not have been sent where an earlier one was.
        if (result.value.kind === 'not_sent' && started)
          return { kind: 'in_doubt', reason: result.value.reason, evidence: null };
        return result.value;
      case 'refused':
        return {
          kind: 'not_sent',
          reason: `refused_${result.refusal.rule}`,
          refusedByUs: true,
          retryAfterSeconds: secondsOf(result.refusal),
        };
      case 'abandoned':
        // Not started by now means never: the exchange looks at the abort signal in the turn of its write.
        return started
          ? { kind: 'in_doubt', reason: result.reason, evidence: null }
          : { kind: 'not_sent', reason: `${result.reason}_before_send`, refusedByUs: false, retryAfterSeconds: null };
    }
  }

  /** One try at the wire. Abandoned before it was written, it is never written; after that it may still be answered late. */
  function ask(
    asked: Asked,
    callOptions: CallOptions,
    { signal, fault, maySend }: CallContext,
    again: boolean,
    tellStarted: () => void,
  ): Promise<Exchange> {
    const cut = new AbortController();
    let written = false;
    const onStart = () => {
      written = true;
      tellStarted();
    };
    signal.addEventListener('abort', () => {
      if (written) setTimeout(() => cut.abort(), LATE_ANSWER_MS).unref();
      else cut.abort();
    });
    const request: ExchangeRequest = {
      method: asked.method,
      path: asked.path,
      body: asked.body(again),
      headers: headersOf(callOptions),
      sendBefore: callOptions.sendBefore,
      maySend,
      signal: cut.signal,
    };
    const send = () => exchange(pool, request, onStart);
    return fault === null ? send() : withFault(fault, { send, onStart, signal });
  }

  function headersOf({ traceparent }: CallOptions): Record<string, string> {
    return {
      'content-type': 'application/json',
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(traceparent === null ? {} : { traceparent }),
    };
  }

  function refuseOtherMode({ livemode }: ChargeIdentity): void {
    if (livemode !== options.livemode)
      throw new Error(`BUG: ${livemode ? 'live' : 'test'} traffic on channel ${options.name}`);
  }

  return {
    name: options.name,
    horizonMs: options.horizonMs,
    keepsEarlyReversals: options.keepsEarlyReversals,
    policies,
    onLate: (told) => {
      lateListeners.push(told);
    },
    setGate: (gate) => {
      for (const policy of Object.values(policies)) policy.setGate(gate);
    },
    reserve: (_operation, consumer) => {
      const reserved = policies.pay.reserve(consumer);
      return 'rule' in reserved
        ? { reason: reserved.rule, detail: reserved.reason, retryAfterSeconds: secondsOf(reserved) }
        : reserved;
    },
    pay: async (charge, callOptions) => {
      refuseOtherMode(charge);
      const terms = termsOf(charge);
      const body = JSON.stringify({ ...terms, livemode: charge.livemode, instrument: instrumentOf(charge.instrument) });
      const masked = JSON.stringify({ ...terms, instrument: { type: charge.instrument.type } });
      const secrets = secretsOf(charge.instrument);
      const asked: Asked = { identity: charge, method: 'POST', path: '/charges', body: () => body };
      return call('pay', asked, callOptions, (reply) => readCharge(charge, reply, masked, secrets));
    },
    inquire: async (identity, callOptions) => {
      refuseOtherMode(identity);
      const path = `/charges/${identity.bankReference}`;
      return call('inquiry', { identity, method: 'GET', path, body: () => null }, callOptions, (reply) =>
        readInquiry(identity, reply, `GET ${path}`),
      );
    },
    reverse: async (identity, repeat, callOptions) => {
      refuseOtherMode(identity);
      const body = (again: boolean) => JSON.stringify({ ...termsOf(identity), repeat: repeat || again });
      const path = `/charges/${identity.bankReference}/reversals`;
      return call('reversal', { identity, method: 'POST', path, body }, callOptions, (reply) =>
        readReversal(identity, reply, `POST ${path} ${body(false)}`),
      );
    },
    close: async () => {
      for (const policy of Object.values(policies)) policy.close();
      await pool.destroy();
    },
  };
}

function termsOf(of: ChargeIdentity) {
  return {
    reference: of.bankReference,
    merchant_number: of.merchantNumber,
    terminal_number: of.terminalNumber,
    amount: Number(of.amount),
    currency: of.currency,
  };
}

function instrumentOf(instrument: Instrument): Readonly<Record<string, unknown>> {
  if (instrument.type === 'code') return { type: 'code', code: instrument.code };
  const { number, expiryMonth, expiryYear, entryMode, track2, cvv, pinBlock } = instrument;
  return {
    type: 'card',
    number,
    expiry_month: expiryMonth,
    expiry_year: expiryYear,
    entry_mode: entryMode,
    track2,
    cvv,
    pin_block: pinBlock,
  };
}

function secretsOf(instrument: Instrument): string[] {
  if (instrument.type === 'code') return [instrument.code];
  const { number, track2, cvv, pinBlock } = instrument;
  return [track2, number, pinBlock, cvv].filter((secret) => secret !== undefined);
}

function secondsOf({ retryAfterMs }: Refusal): number | null {
  return retryAfterMs === null ? null : Math.max(1, Math.ceil(retryAfterMs / 1_000));
}
