// A candidate for the rules, beside the live ones on the same traffic: it takes, counts and judges as if it were in force,
// and tells what it would have refused. It refuses nothing, and nobody waits for it.
import { createBreaker, type Permit } from './breaker.ts';
import { checkRules } from './check-rules.ts';
import { createLimiter } from './limiter.ts';
import { createQuota } from './quota.ts';
import type { Refusal, RefusalRule } from './refusal.ts';
import type { PolicyRules } from './rules.ts';

export interface ShadowCounts {
  readonly rulesVersion: number;
  readonly calls: number;
  readonly wouldRefuse: Readonly<Record<RefusalRule, number>>;
  /** Calls that ended by themselves, after the candidate's timeout (its initial one where that is `auto`). */
  readonly wouldTimeOut: number;
}

export interface Shadow {
  /** Null: it would have passed the call; report its outcome with `ended`. */
  consider(call: ShadowCall): Refusal | null;
  ended(failed: boolean, durationMs: number, now: number): void;
  setShare(share: number): void;
  readonly counts: ShadowCounts;
  close(): void;
}

export interface ShadowCall {
  readonly now: number;
  readonly deadline: number;
  readonly consumer: string | undefined;
  /** The live numbers: how many other calls there really are at once. */
  readonly inFlight: number;
  readonly waiting: number;
}

export function createShadow(candidate: PolicyRules, clock: () => number, share: number): Shadow {
  const rules = checkRules(candidate);
  const timeoutMs = rules.timeout.mode === 'fixed' ? rules.timeout.ms : rules.timeout.initialMs;
  const quota = createQuota(rules.quota, clock());
  const limiter = createLimiter(rules.rate, clock);
  setShare(share);
  const breaker = createBreaker({
    rules: rules.breaker,
    maxInFlight: () => rules.bulkhead.maxInFlight,
    now: clock,
    onChange: () => undefined,
  });
  const wouldRefuse = { deadline: 0, quota: 0, gate: 0, breaker: 0, bulkhead: 0, rate: 0 };
  let calls = 0;
  let wouldTimeOut = 0;

  function setShare(next: number): void {
    quota.setShare(next);
    limiter.setShare(next);
  }

  function refusalOf(call: ShadowCall): Refusal | null {
    const { now, consumer } = call;
    const refusal = (rule: RefusalRule, reason: string, numbers: Record<string, number>, retryAfterMs: number) =>
      ({ rule, rulesVersion: rules.version, reason, numbers, retryAfterMs }) satisfies Refusal;
    if (rules.quota.mode === 'enforce' && consumer !== undefined) {
      const wait = quota.take(consumer, now);
      if (wait > 0) return refusal('quota', 'the consumer has used up its quota', {}, wait);
    }
    const open = breaker.peek(now);
    if (open > 0) return refusal('breaker', `the circuit breaker is ${breaker.state}: ${breaker.why}`, {}, open);
    const { maxInFlight, maxWaiting } = rules.bulkhead;
    const atOnce = call.inFlight + call.waiting;
    if (atOnce >= maxInFlight + maxWaiting)
      return refusal('bulkhead', 'too many calls at once', { in_flight: call.inFlight, waiting: call.waiting }, 1_000);
    if (rules.rate.mode === 'enforce') {
      const wait = limiter.measure(now, call.deadline);
      if (wait > 0) return refusal('rate', 'the rate limit is reached', {}, wait);
    }
    return null;
  }

  return {
    get counts() {
      return { rulesVersion: rules.version, calls, wouldRefuse, wouldTimeOut };
    },
    consider: (call) => {
      calls++;
      const refusal = refusalOf(call);
      if (refusal !== null) wouldRefuse[refusal.rule]++;
      return refusal;
    },
    ended: (failed, durationMs, now) => {
      const late = durationMs >= timeoutMs;
      if (late && !failed) wouldTimeOut++;
      const permit: Permit | number = breaker.permit(now);
      if (typeof permit !== 'number') breaker.report(permit, failed || late, Math.min(durationMs, timeoutMs), now);
    },
    setShare,
    close: () => {
      breaker.close();
      limiter.close();
    },
  };
}
