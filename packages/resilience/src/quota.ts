// What each consumer may use, once per business call. A bucket per consumer, kept only while it remembers something: a
// full bucket is the same as none.
import type { QuotaRules } from './rules.ts';
import { createTokenBucket, type TokenBucket } from './token-bucket.ts';

export interface Quota {
  /** 0: taken. Otherwise the ms until it is worth asking again; nothing is taken. */
  take(consumer: string, now: number): number;
  peek(consumer: string, now: number): number;
  /** The call never left. */
  giveBack(consumer: string): void;
  readonly size: number;
  readonly rules: QuotaRules;
  setRules(rules: QuotaRules): void;
  setShare(share: number): void;
}

/** 10,000 consumers in use at once is far beyond one instance's; beyond it the longest known is forgotten. */
const MOST_CONSUMERS = 10_000;

export function createQuota(initial: QuotaRules): Quota {
  let rules = initial;
  let share = 1;
  const buckets = new Map<string, TokenBucket>();

  const factor = () => (rules.scope === 'cluster' ? share : 1);

  function makeRoom(now: number): void {
    for (const [consumer, bucket] of buckets) if (bucket.isFull(now)) buckets.delete(consumer);
    for (const consumer of buckets.keys()) {
      if (buckets.size < MOST_CONSUMERS) return;
      buckets.delete(consumer);
    }
  }

  function bucketOf(consumer: string, now: number): TokenBucket {
    const known = buckets.get(consumer);
    if (known !== undefined) return known;
    if (buckets.size >= MOST_CONSUMERS) makeRoom(now);
    const bucket = createTokenBucket(rules.perSecond, rules.burst);
    buckets.set(consumer, bucket);
    return bucket;
  }

  return {
    get size() {
      return buckets.size;
    },
    get rules() {
      return rules;
    },
    take: (consumer, now) => -bucketOf(consumer, now).take(now, factor(), 0),
    peek: (consumer, now) => {
      const bucket = buckets.get(consumer);
      return bucket === undefined && factor() > 0 ? 0 : -bucketOf(consumer, now).peek(now, factor(), 0);
    },
    giveBack: (consumer) => buckets.get(consumer)?.giveBack(factor()),
    setRules: (next) => {
      const same = next.perSecond === rules.perSecond && next.burst === rules.burst;
      rules = next;
      if (!same) buckets.clear();
    },
    setShare: (next) => {
      share = next;
    },
  };
}
