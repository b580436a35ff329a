// The adapter for banks that speak JSON over HTTP (services/bank-simulator/README.md describes the protocol). One
// connection pool per channel, one policy per operation; nothing of one channel is shared with another.
import {
  type ChannelPolicy,
  createChannelPolicy,
  defaultRules,
  type PolicyEvent,
  type PolicyRules,
  type Refusal,
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
  ReversalOutcome,
} from './bank-channel.ts';
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

const CONNECT_TIMEOUT_MS = 2_000;
/** Idle connections are closed before a bank's usual 60 s, so that none dies while it is being written to. */
const KEEP_ALIVE_MS = 4_000;

export interface HttpChannel extends BankChannel {
  readonly policies: Readonly<Record<Operation, ChannelPolicy>>;
}

export function openHttpChannel(options: HttpChannelOptions): HttpChannel {
  const policies = { pay: policyOf('pay'), inquiry: policyOf('inquiry'), reversal: policyOf('reversal') };
  // Every admitted call finds a connection or opens one: it never queues inside undici, out of the deadline's sight.
  const connections = Object.values(options.rules ?? {}).reduce(
    (sum, rules) => sum + rules.bulkhead.maxInFlight,
    3 * defaultRules.bulkhead.maxInFlight,
  );
  const pool = new Pool(options.url, {
    connections,
    pipelining: 1,
    connect: { timeout: CONNECT_TIMEOUT_MS },
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: 0, // the policy's timeout is the only one
    bodyTimeout: 0,
  });

  function policyOf(operation: Operation): ChannelPolicy {
    const { listener } = options;
    return createChannelPolicy({
      channel: options.name,
      operation,
      rules: options.rules?.[operation] ?? defaultRules,
      ...(listener === undefined ? {} : { listener: (event) => listener(operation, event) }),
    });
  }

  type Asked = Pick<ExchangeRequest, 'method' | 'path' | 'body'>;
  type Told = ChargeOutcome | InquiryOutcome | ReversalOutcome;

  async function call<T extends Told>(
    operation: Operation,
    asked: Asked,
    callOptions: CallOptions,
    read: (reply: Exchange) => Read<T>,
  ): Promise<T | Extract<ChargeOutcome, { kind: 'in_doubt' | 'not_sent' }>> {
    options.beforeCall?.(`${options.name} ${operation}`);
    let started = false;
    const result = await policies[operation].run(async ({ signal }) => {
      const reply = await exchange(
        pool,
        { ...asked, headers: headersOf(callOptions), sendBefore: callOptions.sendBefore, signal },
        () => {
          started = true;
        },
      );
      const { outcome, healthy } = read(reply);
      return { kind: healthy ? 'success' : 'technical', value: outcome };
    }, callOptions.deadline);
    switch (result.kind) {
      case 'answered':
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
    wouldRefuse: () => {
      const refusal = policies.pay.wouldRefuse();
      return refusal === null
        ? null
        : { reason: refusal.rule, detail: refusal.reason, retryAfterSeconds: secondsOf(refusal) };
    },
    pay: async (charge, callOptions) => {
      refuseOtherMode(charge);
      const terms = termsOf(charge);
      const body = JSON.stringify({ ...terms, livemode: charge.livemode, instrument: instrumentOf(charge.instrument) });
      const masked = JSON.stringify({ ...terms, instrument: { type: charge.instrument.type } });
      return call('pay', { method: 'POST', path: '/charges', body }, callOptions, (reply) =>
        readCharge(charge, reply, masked),
      );
    },
    inquire: async (identity, callOptions) => {
      refuseOtherMode(identity);
      const path = `/charges/${identity.bankReference}`;
      return call('inquiry', { method: 'GET', path, body: null }, callOptions, (reply) =>
        readInquiry(identity, reply, `GET ${path}`),
      );
    },
    reverse: async (identity, repeat, callOptions) => {
      refuseOtherMode(identity);
      const body = JSON.stringify({ ...termsOf(identity), repeat });
      const path = `/charges/${identity.bankReference}/reversals`;
      return call('reversal', { method: 'POST', path, body }, callOptions, (reply) =>
        readReversal(identity, reply, `POST ${path} ${body}`),
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

function secondsOf({ retryAfterMs }: Refusal): number | null {
  return retryAfterMs === null ? null : Math.max(1, Math.ceil(retryAfterMs / 1_000));
}
