// What each consumer of a channel may use, once per business call.
import { createKeyedLimits, type KeyedLimits } from './keyed-limits.ts';
import type { QuotaRules, RateRules } from './rules.ts';

export interface Quota extends Pick<KeyedLimits, 'take' | 'peek' | 'giveBack' | 'setShare'> {
  setRules(rules: QuotaRules): void;
}

export function createQuota(initial: QuotaRules, start: number): Quota {
  const limits = createKeyedLimits(limitsOf(initial), start);
  const { take, peek, giveBack, setShare } = limits;
  return { take, peek, giveBack, setShare, setRules: (rules) => limits.setRules(limitsOf(rules)) };
}

function limitsOf({ mode, scope, perSecond, burst }: QuotaRules): RateRules {
  return { mode, scope, warmUpMs: 0, limit: { algorithm: 'token_bucket', perSecond, burst } };
}
