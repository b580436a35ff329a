// What a channel's policy is from outside: its options, results, events and what it shows of itself.
import type { AttemptOutcome, Call } from './attempt.ts';
import type { BreakerState, Permit } from './breaker.ts';
import type { DrillPlan, DrillReport } from './drill.ts';
import type { Gate } from './gate.ts';
import type { Refusal } from './refusal.ts';
import type { RetryBudget, RetrySafety } from './retry.ts';
import type { PolicyRules } from './rules.ts';
import type { ShadowCounts } from './shadow.ts';
import type { Quantiles } from './timeout.ts';
import type { WindowCounts } from './window.ts';

export type PolicyResult<T> =
  /** The call ended by itself; `healthy`: its verdict was success. `tries`: how often it was made. */
  | { readonly kind: 'answered'; readonly value: T; readonly healthy: boolean; readonly tries: number }
  /** Nothing was sent. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The last try was abandoned at its time limit, or threw: what it did is not known. */
  | {
      readonly kind: 'abandoned';
      readonly reason: 'timeout' | 'error';
      readonly error: unknown;
      readonly tries: number;
    };

export type PolicyEvent =
  | {
      readonly kind: 'state';
      readonly from: BreakerState;
      readonly state: BreakerState;
      readonly why: string;
      readonly numbers: Readonly<Record<string, number>>;
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** A rule that only alarms, or a breaker that only measures. */
  | { readonly kind: 'would_refuse'; readonly refusal: Refusal }
  | { readonly kind: 'shadow_would_refuse'; readonly refusal: Refusal }
  | { readonly kind: 'ended'; readonly outcome: AttemptOutcome; readonly durationMs: number }
  | { readonly kind: 'retry'; readonly retry: number; readonly afterMs: number }
  /** A retry was due and safe, and the channel's budget was used up. */
  | { readonly kind: 'retry_denied'; readonly retry: number }
  /** An abandoned call ended after all: its result is captured, never dropped. */
  | { readonly kind: 'late'; readonly value: unknown; readonly error: unknown; readonly afterMs: number }
  /** The caller's deadline cuts the timeout short. Told once a minute at the most. */
  | { readonly kind: 'timeout_exceeds_caller'; readonly timeoutMs: number; readonly callerAllowsMs: number }
  | { readonly kind: 'drill_ended'; readonly report: DrillReport };

export interface PolicyOptions {
  readonly channel: string;
  readonly operation: string;
  readonly rules: PolicyRules;
  /** What may be retried; absent: never. */
  readonly retrySafety?: RetrySafety;
  /** The channel's, shared by its operations; absent: one of its own. */
  readonly retryBudget?: RetryBudget;
  /** A gate that keeps calls away never holds here (reversals, inquiries). */
  readonly essential?: boolean;
  readonly listener?: (event: PolicyEvent) => void;
  /** Monotonic ms. */
  readonly now?: () => number;
  readonly random?: () => number;
}

/** A place in the breaker, kept for a call that has something to do first. Whoever made no call gives it back. */
export interface Reservation {
  /** Null: used or given back already, there was none to take, or the breaker has moved on meanwhile. */
  take(now: number): Permit | null;
  /** Nothing, where it was used. */
  giveBack(): void;
}

export interface RunOptions {
  /** Monotonic ms at which the caller stops waiting: the end of everything, retries and pauses included. */
  readonly deadline: number;
  /** Who uses the quota; absent: nobody's is used. */
  readonly consumer?: string;
  /** Of this policy; used by the first try. */
  readonly reservation?: Reservation;
  /** Test traffic, which drills may be limited to. */
  readonly coloured?: boolean;
}

export interface PolicySnapshot {
  readonly channel: string;
  readonly operation: string;
  readonly state: BreakerState;
  readonly why: string;
  readonly gate: Gate;
  readonly inFlight: number;
  readonly maxInFlight: number;
  readonly waiting: number;
  readonly maxWaiting: number;
  readonly window: WindowCounts;
  readonly latency: Quantiles | null;
  readonly timeoutMs: number;
  readonly share: number;
  /** Null: no rate limit is in force. */
  readonly rateTokens: number | null;
  readonly retryTokens: number;
  readonly rulesVersion: number;
  readonly shadow: ShadowCounts | null;
  readonly drill: DrillPlan | null;
}

export interface ChannelPolicy {
  /**
   * The refusal a call would meet now, or its place in the breaker: half-open, only as many callers go on as there are
   * probes. Of all else nothing is taken, but for a turn under `percent_open` (gate.ts).
   */
  reserve(consumer?: string): Refusal | Reservation;
  run<T>(call: Call<T>, options: RunOptions): Promise<PolicyResult<T>>;
  applyRules(rules: PolicyRules): void;
  setGate(gate: Gate): void;
  /** This process's leased part of the limits whose scope is `cluster`, 0 to 1. */
  setShare(share: number): void;
  /** Null: none. */
  setShadow(candidate: PolicyRules | null): void;
  startDrill(plan: DrillPlan): void;
  stopDrill(why: string): void;
  /** An operator's "probe now" and "close now". */
  probeNow(): void;
  closeNow(): void;
  snapshot(): PolicySnapshot;
  close(): void;
}
