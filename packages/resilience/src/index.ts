export type { BreakerState } from './breaker.ts';
export type { Gate } from './gate.ts';
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
export { type BreakerRules, checkRules, defaultRules, type LimiterMode, type PolicyRules } from './rules.ts';
