// The way in: overload is shed before a request costs anything, and no terminal, merchant or interface can use up what
// the others need. Asked once per request, right after it is known who sent it; nobody waits here.
import { checkRate, inRange } from './check-rules.ts';
import { createEveryNth } from './every-nth.ts';
import { createKeyedLimits, type KeyedLimits } from './keyed-limits.ts';
import type { RateRules } from './rules.ts';

export interface InboundRequest {
  /** What is asked for: `payments`, `voids`, `lookup`, ... Its limiter is called `interface_payments`, ... */
  readonly interface: string;
  /** Their limiters are called `merchant` and `terminal`, and hold for each of them by itself. */
  readonly merchant?: string;
  readonly terminal?: string;
  /** Not shed while the loop is late (a void, an outcome somebody waits for): it ends work rather than beginning it. */
  readonly essential?: boolean;
}

export interface InboundRefusal {
  /** The limiter's name, or `overload`. */
  readonly rule: string;
  readonly rulesVersion: number;
  readonly reason: string;
  readonly numbers: Readonly<Record<string, number>>;
  readonly retryAfterMs: number;
}

export type Admission =
  /** `leave` is called once, when the request has been answered. */
  | { readonly kind: 'admitted'; readonly leave: () => void }
  | { readonly kind: 'refused'; readonly refusal: InboundRefusal };

export interface OverloadRules {
  /** Requests being served at once. */
  readonly maxInFlight: number;
  /** The later the event loop, the larger the share that is shed: none at `lagFromMs`, all at `lagToMs`. */
  readonly lagFromMs: number;
  readonly lagToMs: number;
}

/**
 * Served at once: 64 connections come near the peak (docs/facts.md). Lateness: a process that has just started compiles what it
 * meets and is late by some 500 ms once, which is no overload; by 2 s the shortest deadline of a terminal has passed.
 */
export const defaultOverload: OverloadRules = { maxInFlight: 2_000, lagFromMs: 500, lagToMs: 2_000 };

export interface InboundOptions {
  readonly overload?: OverloadRules;
  /** How late the event loop is (`watchLoopLag`). */
  readonly lagMs?: () => number;
  /** Told of refusals, and of what a limiter that only alarms would have refused. */
  readonly listener?: (kind: 'refused' | 'would_refuse', refusal: InboundRefusal) => void;
  /** Monotonic ms. */
  readonly now?: () => number;
}

export interface Inbound {
  admit(request: InboundRequest): Admission;
  /** Null: there is no such limiter any more. */
  applyLimiter(name: string, version: number, rules: RateRules | null): void;
  setShare(name: string, share: number): void;
  readonly inFlight: number;
}

interface NamedLimiter {
  readonly version: number;
  readonly limits: KeyedLimits;
}

const OVERLOAD_RETRY_MS = 1_000;

export function createInbound(options: InboundOptions = {}): Inbound {
  const { overload = defaultOverload, lagMs = () => 0, now = () => performance.now(), listener } = options;
  const limiters = new Map<string, NamedLimiter>();
  let inFlight = 0;
  const shed = createEveryNth();

  function overloaded(essential: boolean): InboundRefusal | null {
    const refusal = (reason: string, numbers: Record<string, number>): InboundRefusal => ({
      rule: 'overload',
      rulesVersion: 0,
      reason,
      numbers,
      retryAfterMs: OVERLOAD_RETRY_MS,
    });
    const { maxInFlight, lagFromMs, lagToMs } = overload;
    if (inFlight >= maxInFlight)
      return refusal('too many requests at once', { in_flight: inFlight, max_in_flight: maxInFlight });
    const lag = essential ? 0 : lagMs();
    if (lag <= lagFromMs || !shed.hit(Math.min(1, (lag - lagFromMs) / (lagToMs - lagFromMs)))) return null;
    return refusal('the process is late', { lag_ms: Math.round(lag), lag_to_ms: lagToMs });
  }

  /** Null: taken, or there is nothing to take. */
  function take(name: string, key: string, at: number): InboundRefusal | null {
    const limiter = limiters.get(name);
    if (limiter === undefined || limiter.limits.rules.mode === 'off') return null;
    const wait = limiter.limits.take(key, at);
    if (wait === 0) return null;
    const { algorithm, ...numbers } = limiter.limits.rules.limit;
    const refusal: InboundRefusal = {
      rule: name,
      rulesVersion: limiter.version,
      reason: `the limit per ${name.replace('interface_', '')} (${algorithm}) is reached`,
      numbers,
      retryAfterMs: wait,
    };
    if (limiter.limits.rules.mode === 'enforce') return refusal;
    listener?.('would_refuse', refusal);
    return null;
  }

  function firstRefusal(request: InboundRequest, at: number): InboundRefusal | null {
    const asked: [name: string, key: string][] = [[`interface_${request.interface}`, '']];
    if (request.merchant !== undefined) asked.push(['merchant', request.merchant]);
    if (request.terminal !== undefined) asked.push(['terminal', request.terminal]);
    for (const [index, [name, key]] of asked.entries()) {
      const refusal = take(name, key, at);
      if (refusal === null) continue;
      for (const [taken, takenKey] of asked.slice(0, index)) giveBack(taken, takenKey, at);
      return refusal;
    }
    return null;
  }

  function giveBack(name: string, key: string, at: number): void {
    const limits = limiters.get(name)?.limits;
    if (limits?.rules.mode === 'enforce') limits.giveBack(key, at);
  }

  return {
    get inFlight() {
      return inFlight;
    },
    admit: (request) => {
      const refusal = overloaded(request.essential === true) ?? firstRefusal(request, now());
      if (refusal !== null) {
        listener?.('refused', refusal);
        return { kind: 'refused', refusal };
      }
      inFlight++;
      let left = false;
      const leave = () => {
        if (left) throw new Error('BUG: a request left twice');
        left = true;
        inFlight--;
      };
      return { kind: 'admitted', leave };
    },
    applyLimiter: (name, version, rules) => {
      if (rules === null) {
        limiters.delete(name);
        return;
      }
      checkRate(name, rules);
      const known = limiters.get(name)?.limits;
      known?.setRules(rules);
      limiters.set(name, { version, limits: known ?? createKeyedLimits(rules, now()) });
    },
    setShare: (name, share) => {
      inRange('share', share, 0, 1);
      limiters.get(name)?.limits.setShare(share);
    },
  };
}
