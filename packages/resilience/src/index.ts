export type { Call, CallContext, Verdict } from './attempt.ts';
export type { BreakerState } from './breaker.ts';
export { checkRules } from './check-rules.ts';
export { checkDrill, type DrillPlan, type DrillReport, type Fault, LONGEST_DRILL_MS } from './drill.ts';
export { checkGate, type Gate, keepsCallsAway } from './gate.ts';
export {
  type Admission,
  createInbound,
  defaultOverload,
  type Inbound,
  type InboundOptions,
  type InboundRefusal,
  type InboundRequest,
  type OverloadRules,
} from './inbound.ts';
export { type LoopLag, watchLoopLag } from './loop-lag.ts';
export { createChannelPolicy } from './policy.ts';
export type {
  ChannelPolicy,
  PolicyEvent,
  PolicyOptions,
  PolicyResult,
  PolicySnapshot,
  Reservation,
  RunOptions,
} from './policy-types.ts';
export type { Refusal, RefusalRule } from './refusal.ts';
export { createRetryBudget, type RetryBudget, type RetrySafety } from './retry.ts';
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
export { createSemaphore, type Semaphore, type SemaphoreResult } from './semaphore.ts';
