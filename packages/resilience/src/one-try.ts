// One try of a call, through the layers that each try passes anew: the breaker's permit, the bulkhead, the rate token, the
// timeout, a drill's fault. Synchronous until something has to wait, so that an admitted call costs no extra turn.
import { type AttemptListener, attempt, type Call, type Ended } from './attempt.ts';
import type { Permit } from './breaker.ts';
import type { Layers } from './layers.ts';
import type { RunOptions } from './policy-types.ts';
import { type Refusal, refusedByBreaker, refusedByBulkhead, refusedByDeadline, refusedByRate } from './refusal.ts';

/** A refusal: nothing was sent. */
type Tried<T> = Refusal | Promise<Ended<T> | Refusal>;

const WARN_EVERY_MS = 60_000;

export function createTry(layers: Layers): <T>(call: Call<T>, run: RunOptions) => Tried<T> {
  const { breaker, bulkhead, limiter, operator, timeout, now, tell } = layers;
  let warnedAt = Number.NEGATIVE_INFINITY;

  /** Null: whatever the breaker thinks, it does not hold now. A number: refused, for so many ms. */
  function askPermit(at: number, { reservation }: RunOptions): Permit | null | number {
    switch (operator.gate.mode) {
      case 'forced_closed':
        return null;
      case 'metrics_only': {
        const permit = reservation?.take(at) ?? breaker.permit(at);
        if (typeof permit !== 'number') return permit;
        tell({ kind: 'would_refuse', refusal: refusedByBreaker(layers, permit) });
        return null;
      }
      default:
        return reservation?.take(at) ?? breaker.permit(at);
    }
  }

  function giveBack(permit: Permit | null): void {
    if (permit !== null) breaker.cancel(permit);
  }

  function leave(permit: Permit | null): void {
    giveBack(permit);
    bulkhead.leave();
  }

  function tryOnce<T>(call: Call<T>, run: RunOptions): Tried<T> {
    const at = now();
    const permit = askPermit(at, run);
    if (typeof permit === 'number') return refusedByBreaker(layers, permit);
    const slot = bulkhead.enter(run.deadline, at);
    if (slot === true) return takeToken(call, run, permit, at);
    if (slot === false) {
      giveBack(permit);
      return refusedByBulkhead(layers, 'too many calls at once');
    }
    return slot.then((admitted) => {
      if (admitted) return takeToken(call, run, permit, now());
      giveBack(permit);
      return refusedByBulkhead(layers, 'too many calls at once: waited until its deadline');
    });
  }

  /** Whoever waited may find the gate shut or its time over. */
  function barredNow(run: RunOptions, at: number): Refusal | null {
    const shut = layers.maySend() ? null : layers.passGate();
    if (shut !== null) return shut;
    const left = run.deadline - at;
    return left > 0 ? null : refusedByDeadline(layers, 'no time is left after waiting', left);
  }

  function takeToken<T>(call: Call<T>, run: RunOptions, permit: Permit | null, at: number): Tried<T> {
    const barred = barredNow(run, at);
    if (barred !== null) {
      leave(permit);
      return barred;
    }
    const { mode } = layers.rules.rate;
    if (mode === 'alarm_only') {
      const wait = limiter.measure(at, run.deadline);
      if (wait > 0) tell({ kind: 'would_refuse', refusal: refusedByRate(layers, wait) });
    }
    const turn = mode === 'enforce' ? limiter.take(at, run.deadline) : true;
    if (turn === true) return send(call, run, permit, at);
    if (typeof turn !== 'number')
      return turn.then((came) => {
        const later = now();
        // A turn that was waited for is spent: given back, it would let two of those behind it leave at once.
        const refusal = came === true ? barredNow(run, later) : refusedByRate(layers, came);
        if (refusal === null) return send(call, run, permit, later);
        leave(permit);
        return refusal;
      });
    leave(permit);
    return refusedByRate(layers, turn);
  }

  function send<T>(call: Call<T>, run: RunOptions, permit: Permit | null, at: number): Tried<T> {
    const left = run.deadline - at;
    const timeoutMs = timeout.at(at);
    if (timeoutMs > left) warn(timeoutMs, left, at);
    const fault = layers.drill === null ? null : layers.drill.draw(run.coloured === true, at);
    const until = Math.min(run.deadline, at + timeoutMs);
    return attempt(call, until, fault, layers.maySend, now, listenerOf(permit, run, at, until < at + timeoutMs));
  }

  function warn(timeoutMs: number, callerAllowsMs: number, at: number): void {
    if (at - warnedAt < WARN_EVERY_MS) return;
    warnedAt = at;
    tell({ kind: 'timeout_exceeds_caller', timeoutMs, callerAllowsMs });
  }

  /** An impatient caller, who gave the bank less time than nearly all calls take, says nothing about the bank. */
  function saysNothing(durationMs: number, at: number): boolean {
    return durationMs < (timeout.quantiles(at)?.p95 ?? 0);
  }

  /** What everybody learns from one try. `cutShort`: by the caller's deadline, before the timeout. */
  function listenerOf(permit: Permit | null, run: RunOptions, started: number, cutShort: boolean): AttemptListener {
    const shadow = layers.shadow !== null && shadowPasses(run, started) ? layers.shadow : null;
    return {
      left: bulkhead.leave,
      ended: (outcome, durationMs) => {
        const at = now();
        const failed = outcome !== 'success';
        const impatient = outcome === 'timeout' && cutShort && saysNothing(durationMs, at);
        const heldBack = outcome === 'not_sent' && !layers.maySend();
        if (impatient || heldBack) {
          giveBack(permit);
        } else {
          if (permit !== null) breaker.report(permit, failed, durationMs, at);
          shadow?.ended(failed, durationMs, at);
        }
        if (outcome !== 'timeout') timeout.observe(durationMs, at);
        layers.drill?.ended(run.coloured === true, failed, durationMs, at);
        if (!layers.silent) tell({ kind: 'ended', outcome, durationMs });
      },
      late: (value, error, durationMs) => {
        timeout.observe(durationMs, now());
        tell({ kind: 'late', value, error, afterMs: durationMs });
      },
    };
  }

  function shadowPasses({ deadline, consumer }: RunOptions, at: number): boolean {
    const inFlight = bulkhead.inFlight - 1; // this call has its slot already
    const { waiting } = bulkhead;
    const refusal = layers.shadow?.consider({ now: at, deadline, consumer, inFlight, waiting }) ?? null;
    if (refusal !== null) tell({ kind: 'shadow_would_refuse', refusal });
    return refusal === null;
  }

  return tryOnce;
}
