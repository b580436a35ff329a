export type { BreakerState } from './breaker.ts';
export { checkRules } from './check-rules.ts';
export { checkGate, type Gate, keepsCallsAway } from './gate.ts';
export {
  type CallContext,
  type ChannelPolicy,
  createChannelPolicy,
  type PolicyEvent,
  type PolicyOptions,
  type PolicyResult,
  type PolicySnapshot,
  type Verdict,
} from './policy.ts';
export type { Refusal, RefusalRule } from './refusal.ts';
export {
  type BreakerRules,
  type BulkheadRules,
  defaultRules,
  type LimiterMode,
  type LimitRules,
  type LimitScope,
  type PolicyRules,
  type QuotaRules,
  type RateRules,
  type RetryRules,
  type TimeoutRules,
} from './rules.ts';
