// One channel and operation. A call passes, outermost first: total deadline, the consumer's quota, the operator's gate, the
// retries; then each try (one-try.ts): the breaker's permit, the bulkhead, the rate token, a timeout that starts after
// admission, a drill's fault, the call. What refuses gives back what the earlier layers took.
// docs: ARCHITECTURE.md, "The channel policy".
import type { Call, Ended } from './attempt.ts';
import { checkRules, inRange } from './check-rules.ts';
import { startDrill } from './drill.ts';
import { type Layers, openLayers } from './layers.ts';
import { createTry } from './one-try.ts';
import type { ChannelPolicy, PolicyOptions, PolicyResult, PolicySnapshot, RunOptions } from './policy-types.ts';
import { type Refusal, refusedByDeadline, refusedByQuota } from './refusal.ts';
import { reserve } from './reserve.ts';
import { pauseBeforeRetry } from './retry.ts';
import type { PolicyRules } from './rules.ts';
import { createShadow } from './shadow.ts';

export function createChannelPolicy(options: PolicyOptions): ChannelPolicy {
  const layers = openLayers(options);
  const { breaker, now, operator } = layers;
  return {
    reserve: (consumer) => reserve(layers, consumer),
    run: createRun(layers),
    applyRules: (rules) => applyRules(layers, rules),
    snapshot: () => snapshotOf(layers, options),
    setGate: operator.set,
    setShare: (share) => setShare(layers, share),
    setShadow: (candidate) => {
      const next = candidate === null ? null : createShadow(candidate, now, layers.share);
      layers.shadow?.close();
      layers.shadow = next;
    },
    startDrill: (plan) => {
      const next = startDrill(plan, now(), now, (report) => {
        if (layers.drill === next) layers.drill = null;
        layers.tell({ kind: 'drill_ended', report });
      });
      layers.drill?.end('replaced', `drill ${plan.id} begins`, now());
      layers.drill = next;
    },
    stopDrill: (why) => layers.drill?.end('operator', why, now()),
    probeNow: () => breaker.probeNow(now()),
    closeNow: () => breaker.closeNow(now()),
    close: () => {
      layers.drill?.end('closed', 'the channel is closed', now());
      layers.shadow?.close();
      layers.limiter.close();
      breaker.close();
    },
  };
}

function createRun(layers: Layers): ChannelPolicy['run'] {
  const tryOnce = createTry(layers);
  const { retryBudget, now } = layers;

  return async function run<T>(call: Call<T>, runOptions: RunOptions): Promise<PolicyResult<T>> {
    const barred = admit(layers, now(), runOptions);
    if (barred !== null) return refused(layers, barred, runOptions);
    const first = await tryOnce(call, runOptions);
    if ('rule' in first) {
      giveQuotaBack(layers, runOptions);
      return refused(layers, first, runOptions);
    }
    const { rules } = layers;
    retryBudget.deposit(rules.retry);
    let ended: Ended<T> = first;
    let tries = 1;
    while (
      tries <= rules.retry.retries &&
      mayRetry(layers, ended) &&
      (await pause(layers, tries, runOptions.deadline))
    ) {
      const next = await tryOnce(call, runOptions);
      if ('rule' in next) {
        retryBudget.giveBack();
        refused(layers, next, runOptions); // the outcome stays what the last try that was made came to
        break;
      }
      ended = next;
      tries++;
    }
    return resultOf(ended, tries);
  };
}

/** Once per business call. Null: admitted, and its consumer's quota is taken. */
function admit(layers: Layers, at: number, runOptions: RunOptions): Refusal | null {
  const { quota, rules, tell } = layers;
  const { consumer, deadline } = runOptions;
  if (!(deadline > at)) return refusedByDeadline(layers, 'no time is left', deadline - at);
  if (consumer !== undefined && rules.quota.mode !== 'off') {
    const wait = quota.take(consumer, at);
    if (wait > 0) {
      if (rules.quota.mode === 'enforce') return refusedByQuota(layers, wait);
      tell({ kind: 'would_refuse', refusal: refusedByQuota(layers, wait) });
    }
  }
  const byGate = layers.passGate();
  if (byGate !== null) giveQuotaBack(layers, runOptions);
  return byGate;
}

/** Where it only alarms, a call over the quota took nothing; then nothing is given back. */
function giveQuotaBack({ now, quota, rules }: Layers, { consumer }: RunOptions): void {
  if (consumer !== undefined && rules.quota.mode === 'enforce') quota.giveBack(consumer, now());
}

function refused({ drill, tell }: Layers, refusal: Refusal, { coloured }: RunOptions): PolicyResult<never> {
  drill?.refused(coloured === true);
  tell({ kind: 'refused', refusal });
  return { kind: 'refused', refusal };
}

function mayRetry({ retrySafety }: Layers, ended: Ended<unknown>): boolean {
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
async function pause(layers: Layers, retry: number, deadline: number): Promise<boolean> {
  const { now, random, retryBudget, rules, tell } = layers;
  const afterMs = pauseBeforeRetry(rules.retry, retry, random);
  if (now() + afterMs >= deadline) return false;
  if (!retryBudget.take()) {
    tell({ kind: 'retry_denied', retry });
    return false;
  }
  tell({ kind: 'retry', retry, afterMs });
  await new Promise((resolve) => setTimeout(resolve, Math.ceil(afterMs)));
  const passes = layers.passGate() === null;
  if (!passes) retryBudget.giveBack();
  return passes;
}

function resultOf<T>(ended: Ended<T>, tries: number): PolicyResult<T> {
  if (ended.kind === 'abandoned') return { ...ended, tries };
  const { kind, value } = ended.verdict;
  return { kind: 'answered', value, healthy: kind === 'success', tries };
}

/** What is open, taken or in flight stays so, as far as the new rules know it. */
function applyRules(layers: Layers, next: PolicyRules): void {
  const rules = checkRules(next);
  layers.rules = rules;
  layers.quota.setRules(rules.quota);
  layers.bulkhead.setRules(rules.bulkhead);
  layers.limiter.setRules(rules.rate);
  layers.timeout.setRules(rules.timeout);
  layers.breaker.setRules(rules.breaker, layers.now());
}

function setShare(layers: Layers, share: number): void {
  inRange('share', share, 0, 1);
  layers.share = share;
  layers.quota.setShare(share);
  layers.limiter.setShare(share);
  layers.shadow?.setShare(share);
}

function snapshotOf(layers: Layers, { channel, operation }: PolicyOptions): PolicySnapshot {
  const { breaker, bulkhead, drill, limiter, now, operator, retryBudget, rules, shadow, share, timeout } = layers;
  const at = now();
  return {
    channel,
    operation,
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
    rateTokens: rules.rate.mode === 'off' ? null : limiter.left(at),
    retryTokens: retryBudget.tokens,
    rulesVersion: rules.version,
    shadow: shadow?.counts ?? null,
    drill: drill?.plan ?? null,
  };
}
