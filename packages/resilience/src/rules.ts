// The rules of one channel and operation: plain data, the same in the control database, on disk and here. Which values
// are allowed: check-rules.ts.

/** `alarm_only`: measured and told, nothing is refused. */
export type LimiterMode = 'enforce' | 'alarm_only' | 'off';

/** `cluster`: the numbers are the whole cluster's, and this process has the share it was leased (`setShare`). */
export type LimitScope = 'instance' | 'cluster';

export type LimitRules =
  /** A steady rate, and up to `burst` calls at once after a quiet time. */
  | { readonly algorithm: 'token_bucket'; readonly perSecond: number; readonly burst: number }
  /** Evenly spaced; up to `maxWaiting` calls wait for their turn, as far as their deadline allows. */
  | { readonly algorithm: 'leaky_bucket'; readonly perSecond: number; readonly maxWaiting: number }
  /** At most so many calls in any `windowMs`, wherever the window begins. */
  | { readonly algorithm: 'counter'; readonly calls: number; readonly windowMs: number }
  /** Like the leaky bucket, by bottleneck: for what is slow by contract (reversals, inquiries, payouts). */
  | { readonly algorithm: 'paced'; readonly perSecond: number; readonly maxWaiting: number };

/** Measured at the wire: every retry takes a token of its own. */
export interface RateRules {
  readonly mode: LimiterMode;
  readonly scope: LimitScope;
  readonly limit: LimitRules;
  /** After the process has started, the rate grows from a third to the whole over this time. */
  readonly warmUpMs: number;
}

/** For each consumer (a merchant) by itself, once per business call, whatever its retries. */
export interface QuotaRules {
  readonly mode: LimiterMode;
  readonly scope: LimitScope;
  readonly perSecond: number;
  readonly burst: number;
}

/** What may be retried at all is declared by the adapter, per operation; these are the numbers. */
export interface RetryRules {
  readonly retries: number;
  /** Full jitter: before retry n, a random time up to base x 2^(n-1), at most the longest. */
  readonly baseMs: number;
  readonly longestMs: number;
  /** Each first try adds this much to the channel's budget, each retry takes 1: the most that retries can add to traffic. */
  readonly budgetShare: number;
  /** The budget never holds more, and begins with it. */
  readonly budgetReserve: number;
}

export interface BreakerRules {
  /** Opens when at least this share of the window's calls failed technically. */
  readonly failureRate: number;
  /** A call that took longer is slow, whatever its outcome; opens when at least `slowRate` of the calls were. */
  readonly slowMs: number;
  readonly slowRate: number;
  /** Fewer calls than this in the window prove nothing. */
  readonly minimumCalls: number;
  readonly windowMs: number;
  /** First time open; multiplied by `openGrowth` with each relapse, up to the longest. */
  readonly openMs: number;
  readonly openGrowth: number;
  readonly longestOpenMs: number;
  /** Probes at once while half-open; that many successes end it. */
  readonly probes: number;
  /** A probe that has not reported by then is given up, and another may take its place. */
  readonly probeLeaseMs: number;
  /** After the probes, calls at once grow from their number to the bulkhead's over this time. 0: all at once. */
  readonly rampMs: number;
}

export interface BulkheadRules {
  readonly maxInFlight: number;
  readonly maxWaiting: number;
}

export type TimeoutRules =
  | { readonly mode: 'fixed'; readonly ms: number }
  /** Observed quantile x 1.5, between least and most; `initialMs` until enough was observed. p95: an unstable third party. */
  | {
      readonly mode: 'auto';
      readonly quantile: 'p99' | 'p95';
      readonly initialMs: number;
      readonly leastMs: number;
      readonly mostMs: number;
    };

export interface PolicyRules {
  readonly version: number;
  readonly quota: QuotaRules;
  readonly retry: RetryRules;
  readonly breaker: BreakerRules;
  readonly bulkhead: BulkheadRules;
  readonly rate: RateRules;
  readonly timeout: TimeoutRules;
}

/** Conservative rules for a channel about which nothing is known yet. */
export const defaultRules: PolicyRules = {
  version: 0,
  quota: { mode: 'off', scope: 'instance', perSecond: 100, burst: 200 },
  // A twentieth more traffic at the most, so that with the reserve, which lets a quiet channel retry at all, a hundred calls
  // make no more than 110 tries.
  retry: { retries: 3, baseMs: 100, longestMs: 2_000, budgetShare: 0.05, budgetReserve: 5 },
  breaker: {
    failureRate: 0.5,
    slowMs: 5_000,
    slowRate: 0.8,
    minimumCalls: 20,
    windowMs: 10_000,
    openMs: 5_000,
    openGrowth: 2,
    // Whatever it has been through, a bank that is well again is asked within this, and served in full a ramp later: 30 s.
    longestOpenMs: 20_000,
    probes: 3,
    probeLeaseMs: 30_000,
    rampMs: 10_000,
  },
  bulkhead: { maxInFlight: 256, maxWaiting: 1_024 },
  rate: {
    mode: 'off',
    scope: 'instance',
    limit: { algorithm: 'token_bucket', perSecond: 1_000, burst: 100 },
    warmUpMs: 0,
  },
  timeout: { mode: 'fixed', ms: 10_000 },
};
