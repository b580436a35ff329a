// One channel and operation. A call passes, outermost first: total deadline, the consumer's quota, the operator's gate, the
// retries; then each try: the breaker's permit, the bulkhead, the rate token, a timeout that starts after admission, a
// drill's fault, the call. What refuses gives back what the earlier layers took. docs: ARCHITECTURE.md, "The channel policy".
import { type AttemptListener, attempt, type Call, type Ended } from './attempt.ts';
import { createBreaker, type Permit } from './breaker.ts';
import { createBulkhead } from './bulkhead.ts';
import { checkRules, inRange } from './check-rules.ts';
import { type Drill, startDrill } from './drill.ts';
import { createGate, keepsCallsAway } from './gate.ts';
import { createLimiter } from './limiter.ts';
import type {
  ChannelPolicy,
  PolicyEvent,
  PolicyOptions,
  PolicyResult,
  PolicySnapshot,
  RunOptions,
} from './policy-types.ts';
import { createQuota } from './quota.ts';
import type { Refusal, RefusalRule } from './refusal.ts';
import { createRetryBudget, pauseBeforeRetry } from './retry.ts';
import { createShadow, type Shadow } from './shadow.ts';
import { createTimeout } from './timeout.ts';

const WARN_EVERY_MS = 60_000;

export function createChannelPolicy(options: PolicyOptions): ChannelPolicy {
  const { listener, now = () => performance.now(), random = Math.random, retrySafety = 'never' } = options;
  const { essential = false, retryBudget = createRetryBudget() } = options;
  let rules = checkRules(options.rules);
  let share = 1;
  let shadow: Shadow | null = null;
  let drill: Drill | null = null;
  let warnedAt = Number.NEGATIVE_INFINITY;

  const operator = createGate();
  const quota = createQuota(rules.quota);
  const bulkhead = createBulkhead(rules.bulkhead);
  const limiter = createLimiter(rules.rate, now);
  const timeout = createTimeout(rules.timeout, now());
  const breaker = createBreaker({
    rules: rules.breaker,
    maxInFlight: () => rules.bulkhead.maxInFlight,
    now,
    onChange: ({ from, to, why, numbers }) => {
      tell({ kind: 'state', from, state: to, why, numbers });
      if (to === 'open') drill?.breakerOpened(now());
    },
  });

  /** A listener that throws must not turn a paid call into a failed one. */
  function tell(event: PolicyEvent): void {
    try {
      listener?.(event);
    } catch (error) {
      // A bug of the listener, said aloud; to let it end the process would leave every call in flight in doubt.
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }

  function refusal(
    rule: RefusalRule,
    reason: string,
    numbers: Record<string, number>,
    retryAfterMs: number | null,
  ): Refusal {
    return { rule, rulesVersion: rules.version, reason, numbers, retryAfterMs };
  }

  function breakerRefusal(wait: number): Refusal {
    const { calls, failures, slow } = breaker.counts(now());
    const reason = `the circuit breaker is ${breaker.state}: ${breaker.why}`;
    return refusal('breaker', reason, { retry_after_ms: Math.ceil(wait), calls, failures, slow }, wait);
  }

  function bulkheadRefusal(reason: string): Refusal {
    const { inFlight, waiting } = bulkhead;
    const { maxInFlight, maxWaiting } = rules.bulkhead;
    const numbers = { in_flight: inFlight, max_in_flight: maxInFlight, waiting, max_waiting: maxWaiting };
    return refusal('bulkhead', reason, numbers, 1_000);
  }

  function rateRefusal(wait: number): Refusal {
    const { algorithm, ...numbers } = rules.rate.limit;
    return refusal('rate', `the rate limit (${algorithm}) is reached`, { ...numbers, share }, wait);
  }

  function quotaRefusal(wait: number): Refusal {
    const { perSecond, burst } = rules.quota;
    return refusal('quota', 'the consumer has used up its quota', { per_second: perSecond, burst, share }, wait);
  }

  function deadlineRefusal(reason: string, leftMs: number): Refusal {
    return refusal('deadline', reason, { left_ms: leftMs }, null);
  }

  /** The gate, as far as it holds for this operation. */
  function passGate(): Refusal | null {
    return essential && keepsCallsAway(operator.gate) ? null : operator.pass(rules.version);
  }

  function wouldRefuse(consumer?: string): Refusal | null {
    const at = now();
    if (consumer !== undefined && rules.quota.mode === 'enforce') {
      const wait = quota.peek(consumer, at);
      if (wait > 0) return quotaRefusal(wait);
    }
    const byGate = essential && keepsCallsAway(operator.gate) ? null : operator.peek(rules.version);
    if (byGate !== null) return byGate;
    const { mode } = operator.gate;
    const wait = mode === 'forced_closed' || mode === 'metrics_only' ? 0 : breaker.peek(at);
    if (wait > 0) return breakerRefusal(wait);
    if (!bulkhead.hasRoom()) return bulkheadRefusal('too many calls at once');
    const tokenWait = rules.rate.mode === 'enforce' ? limiter.peek(at, Number.POSITIVE_INFINITY) : 0;
    return tokenWait > 0 ? rateRefusal(tokenWait) : null;
  }

  /** Once per business call. The quota is taken when the result is null, and given back by `run` on a later refusal. */
  function admitBusinessCall(at: number, { deadline, consumer }: RunOptions): Refusal | null {
    if (!(deadline > at)) return deadlineRefusal('no time is left', deadline - at);
    if (consumer !== undefined && rules.quota.mode !== 'off') {
      const wait = quota.take(consumer, at);
      if (wait > 0) {
        if (rules.quota.mode === 'enforce') return quotaRefusal(wait);
        tell({ kind: 'would_refuse', refusal: quotaRefusal(wait) });
      }
    }
    const byGate = passGate();
    if (byGate !== null && consumer !== undefined && rules.quota.mode !== 'off') quota.giveBack(consumer);
    return byGate;
  }

  function refused(why: Refusal, coloured: boolean): Refusal {
    drill?.refused(coloured);
    tell({ kind: 'refused', refusal: why });
    return why;
  }

  /** Null: whatever the breaker thinks, it does not hold now. A number: refused, for so many ms. */
  function askPermit(at: number): Permit | null | number {
    switch (operator.gate.mode) {
      case 'forced_closed':
        return null;
      case 'metrics_only': {
        const permit = breaker.permit(at);
        if (typeof permit !== 'number') return permit;
        tell({ kind: 'would_refuse', refusal: breakerRefusal(permit) });
        return null;
      }
      default:
        return breaker.permit(at);
    }
  }

  function giveBack(permit: Permit | null, slot: boolean): void {
    if (permit !== null) breaker.cancel(permit);
    if (slot) bulkhead.leave();
  }

  /** One try, or the refusal that nothing was sent for. */
  function tryOnce<T>(call: Call<T>, run: RunOptions): Refusal | Promise<Ended<T> | Refusal> {
    const at = now();
    const permit = askPermit(at);
    if (typeof permit === 'number') return breakerRefusal(permit);
    const slot = bulkhead.enter(run.deadline, at);
    if (slot === true) return takeToken(call, run, permit, at);
    if (slot === false) {
      giveBack(permit, false);
      return bulkheadRefusal('too many calls at once');
    }
    return slot.then((admitted) => {
      if (admitted) return takeToken(call, run, permit, now());
      giveBack(permit, false);
      return bulkheadRefusal('too many calls at once: waited until its deadline');
    });
  }

  function takeToken<T>(
    call: Call<T>,
    run: RunOptions,
    permit: Permit | null,
    at: number,
  ): Refusal | Promise<Ended<T> | Refusal> {
    const { mode } = rules.rate;
    if (mode === 'alarm_only') {
      const wait = limiter.measure(at, run.deadline);
      if (wait > 0) tell({ kind: 'would_refuse', refusal: rateRefusal(wait) });
    }
    const turn = mode === 'enforce' ? limiter.take(at, run.deadline) : true;
    if (turn === true) return send(call, run, permit, at);
    if (typeof turn !== 'number')
      return turn.then((came) => {
        if (came === true) return send(call, run, permit, now());
        giveBack(permit, true);
        return rateRefusal(came);
      });
    giveBack(permit, true);
    return rateRefusal(turn);
  }

  function send<T>(
    call: Call<T>,
    run: RunOptions,
    permit: Permit | null,
    at: number,
  ): Refusal | Promise<Ended<T> | Refusal> {
    // Whoever waited may find the gate shut, or too little time left for what half of the calls take.
    const left = run.deadline - at;
    const shut = operator.gate.mode === 'forced_open' ? passGate() : null;
    if (shut !== null || left <= 0) {
      giveBack(permit, true);
      return shut ?? deadlineRefusal('no time is left after waiting', left);
    }
    const timeoutMs = timeout.at(at);
    if (timeoutMs > left) warn(timeoutMs, left, at);
    const coloured = run.coloured === true;
    const fault = drill === null ? null : drill.draw(coloured, at);
    return attempt(call, Math.min(run.deadline, at + timeoutMs), fault, now, outcomeOf(permit, coloured, run, at));
  }

  function warn(timeoutMs: number, callerAllowsMs: number, at: number): void {
    if (at - warnedAt < WARN_EVERY_MS) return;
    warnedAt = at;
    tell({ kind: 'timeout_exceeds_caller', timeoutMs, callerAllowsMs });
  }

  /** What everybody learns from one try. */
  function outcomeOf(permit: Permit | null, coloured: boolean, run: RunOptions, started: number): AttemptListener {
    const candidate = shadow;
    let considered = false;
    if (candidate !== null) {
      const { inFlight, waiting } = bulkhead;
      const { deadline, consumer } = run;
      const why = candidate.consider({ now: started, deadline, consumer, inFlight, waiting });
      considered = why === null;
      if (why !== null) tell({ kind: 'shadow_would_refuse', refusal: why });
    }
    return {
      left: bulkhead.leave,
      ended: (outcome, durationMs) => {
        const at = now();
        const failed = outcome !== 'success';
        if (permit !== null) breaker.report(permit, failed, durationMs, at);
        if (outcome !== 'timeout') timeout.observe(durationMs, at);
        if (considered) candidate?.ended(failed, durationMs, at);
        drill?.ended(coloured, failed, durationMs, at);
        if (listener !== undefined) tell({ kind: 'ended', outcome, durationMs });
      },
      late: (value, error, durationMs) => {
        timeout.observe(durationMs, now());
        tell({ kind: 'late', value, error, afterMs: durationMs });
      },
    };
  }

  function mayRetry(ended: Ended<unknown>): boolean {
    switch (retrySafety) {
      case 'never':
        return false;
      case 'not_sent':
        return ended.kind === 'answered' && ended.verdict.kind === 'not_sent';
      case 'always':
        return ended.kind === 'abandoned' || ended.verdict.kind !== 'success';
    }
  }

  /** Resolves to false when no retry is to be made after all. */
  async function pause(retry: number, deadline: number): Promise<boolean> {
    const afterMs = pauseBeforeRetry(rules.retry, retry, random);
    if (now() + afterMs >= deadline) return false;
    if (!retryBudget.take()) {
      tell({ kind: 'retry_denied', retry });
      return false;
    }
    tell({ kind: 'retry', retry, afterMs });
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    return passGate() === null;
  }

  async function run<T>(call: Call<T>, runOptions: RunOptions): Promise<PolicyResult<T>> {
    const { consumer, deadline, coloured = false } = runOptions;
    const barred = admitBusinessCall(now(), runOptions);
    if (barred !== null) return { kind: 'refused', refusal: refused(barred, coloured) };
    const first = await tryOnce(call, runOptions);
    if ('rule' in first) {
      if (consumer !== undefined && rules.quota.mode !== 'off') quota.giveBack(consumer);
      return { kind: 'refused', refusal: refused(first, coloured) };
    }
    retryBudget.deposit(rules.retry);
    let ended: Ended<T> = first;
    let tries = 1;
    while (tries <= rules.retry.retries && mayRetry(ended) && (await pause(tries, deadline))) {
      const next = await tryOnce(call, runOptions);
      if ('rule' in next) {
        refused(next, coloured); // the outcome stays what the last try that was made came to
        break;
      }
      ended = next;
      tries++;
    }
    return resultOf(ended, tries);
  }

  function applyRules(next: typeof rules): void {
    rules = checkRules(next);
    quota.setRules(rules.quota);
    bulkhead.setRules(rules.bulkhead);
    limiter.setRules(rules.rate);
    timeout.setRules(rules.timeout);
    breaker.setRules(rules.breaker, now());
  }

  function snapshot(): PolicySnapshot {
    const at = now();
    return {
      channel: options.channel,
      operation: options.operation,
      state: breaker.state,
      why: breaker.why,
      gate: operator.gate,
      inFlight: bulkhead.inFlight,
      maxInFlight: rules.bulkhead.maxInFlight,
      waiting: bulkhead.waiting,
      maxWaiting: rules.bulkhead.maxWaiting,
      window: breaker.counts(at),
      latency: timeout.quantiles(at),
      timeoutMs: timeout.at(at),
      share,
      retryTokens: retryBudget.tokens,
      rulesVersion: rules.version,
      shadow: shadow?.counts ?? null,
      drill: drill?.plan ?? null,
    };
  }

  return {
    wouldRefuse,
    run,
    applyRules,
    snapshot,
    setGate: operator.set,
    setShare: (next) => {
      inRange('share', next, 0, 1);
      share = next;
      quota.setShare(next);
      limiter.setShare(next);
    },
    setShadow: (candidate) => {
      const next = candidate === null ? null : createShadow(candidate, now, share);
      shadow?.close();
      shadow = next;
    },
    startDrill: (plan) => {
      const next = startDrill(plan, now(), now, (report) => {
        if (drill === next) drill = null;
        tell({ kind: 'drill_ended', report });
      });
      drill?.end('replaced', `drill ${plan.id} begins`, now());
      drill = next;
    },
    stopDrill: (why) => drill?.end('operator', why, now()),
    probeNow: () => breaker.probeNow(now()),
    closeNow: () => breaker.closeNow(now()),
    close: () => {
      drill?.end('closed', 'the channel is closed', now());
      shadow?.close();
      limiter.close();
      breaker.close();
    },
  };
}

function resultOf<T>(ended: Ended<T>, tries: number): PolicyResult<T> {
  if (ended.kind === 'abandoned') return { ...ended, tries };
  const { kind, value } = ended.verdict;
  return { kind: 'answered', value, healthy: kind === 'success', tries };
}
