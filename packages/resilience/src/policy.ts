// One channel and operation. A call passes, outermost first: total deadline, the operator's gate, the breaker's permit,
// the bulkhead, the rate token, a timeout with an AbortController of its own that starts after admission, then the call.
// What refuses gives back what the earlier layers took. docs: ARCHITECTURE.md, "The channel policy".
import { isDeepStrictEqual } from 'node:util';
import { type Breaker, type BreakerState, createBreaker, type Permit } from './breaker.ts';
import { createBulkhead } from './bulkhead.ts';
import { checkRules } from './check-rules.ts';
import { createGate, type Gate } from './gate.ts';
import type { Refusal } from './refusal.ts';
import type { PolicyRules } from './rules.ts';
import { createTokenBucket } from './token-bucket.ts';

/** What a call says about the channel's health. A bank's decline is a success of the channel. */
export type Verdict<T> =
  | { readonly kind: 'success'; readonly value: T }
  | { readonly kind: 'technical'; readonly value: T };

export type PolicyResult<T> =
  /** The call ended by itself; `healthy`: its verdict was success. */
  | { readonly kind: 'answered'; readonly value: T; readonly healthy: boolean }
  /** Nothing was sent. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The call was abandoned at its time limit, or threw: what it did is not known. */
  | { readonly kind: 'abandoned'; readonly reason: 'timeout' | 'error'; readonly error: unknown };

export interface CallContext {
  readonly signal: AbortSignal;
  /** Monotonic ms: the call is abandoned then. */
  readonly deadline: number;
}

export type PolicyEvent =
  | { readonly kind: 'state'; readonly state: BreakerState }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'would_refuse'; readonly refusal: Refusal }
  | {
      readonly kind: 'ended';
      readonly outcome: 'success' | 'technical' | 'timeout' | 'error';
      readonly durationMs: number;
    }
  /** An abandoned call ended after all: its result is captured, never dropped. */
  | { readonly kind: 'late'; readonly value: unknown; readonly error: unknown; readonly afterMs: number };

export interface PolicyOptions {
  readonly channel: string;
  readonly operation: string;
  readonly rules: PolicyRules;
  readonly listener?: (event: PolicyEvent) => void;
  /** Monotonic ms. */
  readonly now?: () => number;
}

export interface PolicySnapshot {
  readonly state: BreakerState;
  readonly gate: Gate['mode'];
  readonly inFlight: number;
  readonly waiting: number;
  readonly rulesVersion: number;
}

export interface ChannelPolicy {
  /** The refusal a call would meet now; takes nothing. */
  wouldRefuse(): Refusal | null;
  run<T>(call: (context: CallContext) => Promise<Verdict<T>>, deadline: number): Promise<PolicyResult<T>>;
  applyRules(rules: PolicyRules): void;
  setGate(gate: Gate): void;
  snapshot(): PolicySnapshot;
  close(): void;
}

export function createChannelPolicy(options: PolicyOptions): ChannelPolicy {
  const { now = () => performance.now() } = options;
  let rules = checkRules(options.rules);
  const operator = createGate();
  const bulkhead = createBulkhead(rules.bulkhead.maxInFlight, rules.bulkhead.maxWaiting);
  let breaker = openBreaker();
  let bucket = openBucket();

  /** A listener that throws must not turn a paid call into a failed one. */
  function tell(event: PolicyEvent): void {
    try {
      options.listener?.(event);
    } catch (error) {
      queueMicrotask(() => {
        throw error; // a bug of the listener, reported as such
      });
    }
  }

  function openBucket() {
    const { limit } = rules.rate;
    return limit.algorithm === 'token_bucket'
      ? createTokenBucket(limit.perSecond, limit.burst)
      : createTokenBucket(1_000_000, 1_000_000);
  }

  function openBreaker(): Breaker {
    return createBreaker(rules.breaker, (state) => tell({ kind: 'state', state }));
  }

  function refusal(
    rule: Refusal['rule'],
    reason: string,
    numbers: Record<string, number>,
    retryAfterMs: number | null,
  ): Refusal {
    return { rule, rulesVersion: rules.version, reason, numbers, retryAfterMs };
  }

  const breakerRefusal = (wait: number) =>
    refusal('breaker', `the circuit breaker is ${breaker.state}`, { retry_after_ms: Math.ceil(wait) }, wait);
  const bulkheadRefusal = () =>
    refusal(
      'bulkhead',
      'too many calls at once',
      { in_flight: bulkhead.inFlight, waiting: bulkhead.waiting, max_waiting: rules.bulkhead.maxWaiting },
      1_000,
    );
  const rateRefusal = (wait: number) => refusal('rate', 'the rate limit is reached', {}, wait);

  function wouldRefuse(): Refusal | null {
    const byGate = operator.peek(rules.version);
    if (byGate !== null) return byGate;
    const at = now();
    const wait = operator.gate.mode === 'forced_closed' ? 0 : breaker.peek(at);
    if (wait > 0) return breakerRefusal(wait);
    if (!bulkhead.hasRoom()) return bulkheadRefusal();
    const tokenWait = rules.rate.mode === 'enforce' ? bucket.peek(at) : 0;
    return tokenWait > 0 ? rateRefusal(tokenWait) : null;
  }

  function refuse<T>(why: Refusal): PolicyResult<T> {
    tell({ kind: 'refused', refusal: why });
    return { kind: 'refused', refusal: why };
  }

  async function run<T>(
    call: (context: CallContext) => Promise<Verdict<T>>,
    deadline: number,
  ): Promise<PolicyResult<T>> {
    const start = now();
    if (deadline <= start)
      return refuse(refusal('deadline', 'no time is left', { over_by_ms: start - deadline }, null));
    const byGate = operator.pass(rules.version);
    if (byGate !== null) return refuse(byGate);
    const issuedBy = breaker;
    const permit = operator.gate.mode === 'forced_closed' ? null : issuedBy.permit(start);
    if (typeof permit === 'number') return refuse(breakerRefusal(permit));
    const giveBack = () => permit !== null && issuedBy.cancel(permit);

    const admitted = bulkhead.enter(deadline, start);
    if (!(admitted === true || (admitted !== false && (await admitted)))) {
      giveBack();
      return refuse(bulkheadRefusal());
    }
    const tokenWait = rules.rate.mode === 'off' ? 0 : bucket.take(now());
    if (tokenWait > 0) {
      const why = rateRefusal(tokenWait);
      if (rules.rate.mode === 'enforce') {
        bulkhead.leave();
        giveBack();
        return refuse(why);
      }
      tell({ kind: 'would_refuse', refusal: why });
    }
    return attempt(
      call,
      Math.min(deadline, now() + (rules.timeout.mode === 'fixed' ? rules.timeout.ms : rules.timeout.initialMs)),
      issuedBy,
      permit,
    );
  }

  /** The admitted call. The slot is freed when the work itself has ended, also long after it was abandoned. */
  function attempt<T>(
    call: (context: CallContext) => Promise<Verdict<T>>,
    until: number,
    issuedBy: Breaker,
    permit: Permit | null,
  ): Promise<PolicyResult<T>> {
    const started = now();
    const controller = new AbortController();
    return new Promise((resolve) => {
      let abandoned = false;
      const report = (failed: boolean) => permit !== null && issuedBy.report(permit, failed, now());
      const timer = setTimeout(
        () => {
          abandoned = true;
          report(true);
          tell({ kind: 'ended', outcome: 'timeout', durationMs: now() - started });
          resolve({ kind: 'abandoned', reason: 'timeout', error: null });
          controller.abort();
        },
        Math.max(0, until - started),
      );
      const end = (value: unknown, error: unknown) => {
        clearTimeout(timer);
        bulkhead.leave();
        if (abandoned) tell({ kind: 'late', value, error, afterMs: now() - started });
        return !abandoned;
      };
      invoke(call, { signal: controller.signal, deadline: until }).then(
        (verdict) => {
          if (!end(verdict.value, null)) return;
          report(verdict.kind === 'technical');
          tell({ kind: 'ended', outcome: verdict.kind, durationMs: now() - started });
          resolve({ kind: 'answered', value: verdict.value, healthy: verdict.kind === 'success' });
        },
        (error: unknown) => {
          if (!end(null, error)) return;
          report(true);
          tell({ kind: 'ended', outcome: 'error', durationMs: now() - started });
          resolve({ kind: 'abandoned', reason: 'error', error });
        },
      );
    });
  }

  return {
    wouldRefuse,
    run,
    applyRules: (next) => {
      const before = rules.breaker;
      rules = checkRules(next);
      // An open breaker stays open through a change of other rules.
      if (!isDeepStrictEqual(before, rules.breaker)) {
        breaker.close();
        breaker = openBreaker();
      }
      bucket = openBucket();
      bulkhead.setLimits(rules.bulkhead.maxInFlight, rules.bulkhead.maxWaiting);
    },
    setGate: operator.set,
    snapshot: () => ({
      state: breaker.state,
      gate: operator.gate.mode,
      inFlight: bulkhead.inFlight,
      waiting: bulkhead.waiting,
      rulesVersion: rules.version,
    }),
    close: () => breaker.close(),
  };
}

/** A call that throws before its first await is a rejection like any other. */
async function invoke<T>(
  call: (context: CallContext) => Promise<Verdict<T>>,
  context: CallContext,
): Promise<Verdict<T>> {
  return call(context);
}
