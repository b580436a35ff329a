// A drill: a fault on a share of a channel's calls, on purpose, for a required time. It exercises everything above it. The
// policy draws which calls are hit and writes the report; the adapter does the fault at the wire. A drill lives in this
// process's memory with its end already set, so a crash leaves none on, and neither does a wrong wall clock.
import { inRange, oneOf, wholeInRange } from './check-rules.ts';
import { createEveryNth } from './every-nth.ts';

export type Fault =
  | { readonly kind: 'latency'; readonly ms: number }
  /** Never answered. */
  | { readonly kind: 'timeout' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'server_error'; readonly status: number }
  | { readonly kind: 'wrong_amount' }
  /** The answer of an earlier call in place of this one's. */
  | { readonly kind: 'duplicate_answer' }
  /** The answer, so many bytes a second. */
  | { readonly kind: 'trickle'; readonly bytesPerSecond: number };

export interface DrillPlan {
  readonly id: string;
  readonly fault: Fault;
  /** Of the calls it is for, 0 to 1: every nth. */
  readonly share: number;
  /** `coloured`: test traffic only. */
  readonly traffic: 'coloured' | 'all';
  readonly durationMs: number;
  /** The drill ends early when any of these is reached by the calls of its traffic, hit or not. Null: not looked at. */
  readonly stopWhen: {
    /** Fewer calls than this prove nothing. */
    readonly minimumCalls: number;
    readonly failureRate: number | null;
    readonly slowestMs: number | null;
    readonly breakerOpens: boolean;
  };
}

export interface DrillReport {
  readonly id: string;
  readonly fault: Fault['kind'];
  readonly endedBy: 'duration' | 'stop_condition' | 'operator' | 'replaced' | 'closed';
  /** It ran for its whole time and nothing that was to stop it happened. */
  readonly passed: boolean;
  readonly why: string;
  readonly ranMs: number;
  readonly calls: number;
  readonly hit: number;
  readonly failed: number;
  readonly refused: number;
  readonly slowestMs: number;
  readonly breakerOpened: number;
}

export interface Drill {
  readonly plan: DrillPlan;
  /** The fault of this attempt, or null. */
  draw(coloured: boolean, now: number): Fault | null;
  ended(coloured: boolean, failed: boolean, durationMs: number, now: number): void;
  refused(coloured: boolean): void;
  breakerOpened(now: number): void;
  /** Ends it, if it has not ended; the report goes to `onEnd`, once. */
  end(by: DrillReport['endedBy'], why: string, now: number): void;
}

export const LONGEST_DRILL_MS = 3_600_000;

/** Returns the plan, frozen; throws RangeError naming what is wrong. */
export function checkDrill(plan: DrillPlan): DrillPlan {
  const { fault, stopWhen } = plan;
  oneOf('fault.kind', fault.kind, [
    'latency',
    'timeout',
    'reset',
    'server_error',
    'wrong_amount',
    'duplicate_answer',
    'trickle',
  ]);
  if (fault.kind === 'latency') inRange('fault.ms', fault.ms, 1, 600_000);
  if (fault.kind === 'server_error') wholeInRange('fault.status', fault.status, 500, 599);
  if (fault.kind === 'trickle') inRange('fault.bytesPerSecond', fault.bytesPerSecond, 0.1, 1_000_000);
  inRange('share', plan.share, 0.001, 1);
  oneOf('traffic', plan.traffic, ['coloured', 'all']);
  inRange('durationMs', plan.durationMs, 100, LONGEST_DRILL_MS);
  wholeInRange('stopWhen.minimumCalls', stopWhen.minimumCalls, 1, 1_000_000);
  if (stopWhen.failureRate !== null) inRange('stopWhen.failureRate', stopWhen.failureRate, 0.01, 1);
  if (stopWhen.slowestMs !== null) inRange('stopWhen.slowestMs', stopWhen.slowestMs, 1, 600_000);
  return Object.freeze(plan);
}

export function startDrill(
  plan: DrillPlan,
  now: number,
  clock: () => number,
  onEnd: (report: DrillReport) => void,
): Drill {
  const { fault, share, stopWhen } = checkDrill(plan);
  const until = now + plan.durationMs;
  let over = false;
  const hits = createEveryNth();
  const seen = { calls: 0, hit: 0, failed: 0, refused: 0, slowestMs: 0, breakerOpened: 0 };
  // Told in time even when no call comes by. Nothing depends on it: `draw` looks at the clock itself.
  const timer = setTimeout(() => end('duration', 'its time is over', clock()), plan.durationMs);
  timer.unref();

  const isFor = (coloured: boolean) => plan.traffic === 'all' || coloured;

  function end(endedBy: DrillReport['endedBy'], why: string, at: number): void {
    if (over) return;
    over = true;
    clearTimeout(timer);
    const passed = endedBy === 'duration';
    onEnd({ id: plan.id, fault: fault.kind, endedBy, passed, why, ranMs: Math.min(at, until) - now, ...seen });
  }

  function stopIfReached(at: number): void {
    const { calls, failed, slowestMs } = seen;
    if (calls < stopWhen.minimumCalls) return;
    if (stopWhen.failureRate !== null && failed / calls >= stopWhen.failureRate)
      end('stop_condition', `${failed} of ${calls} calls failed`, at);
    else if (stopWhen.slowestMs !== null && slowestMs >= stopWhen.slowestMs)
      end('stop_condition', `a call took ${Math.round(slowestMs)} ms`, at);
  }

  return {
    plan,
    draw: (coloured, at) => {
      if (at >= until) end('duration', 'its time is over', at);
      if (over || !isFor(coloured) || !hits.hit(share)) return null;
      seen.hit++;
      return fault;
    },
    ended: (coloured, failed, durationMs, at) => {
      if (over || !isFor(coloured)) return;
      seen.calls++;
      if (failed) seen.failed++;
      seen.slowestMs = Math.max(seen.slowestMs, durationMs);
      stopIfReached(at);
    },
    refused: (coloured) => {
      if (!over && isFor(coloured)) seen.refused++;
    },
    breakerOpened: (at) => {
      if (over) return;
      seen.breakerOpened++;
      if (stopWhen.breakerOpens) end('stop_condition', 'the circuit breaker opened', at);
    },
    end,
  };
}
