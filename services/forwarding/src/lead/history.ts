// Is the source still the database that was forwarded? What is remembered of it (positions, snapshots, what consumers have)
// holds only if nothing of it was lost since. A pure decision, from what was remembered and what is found:
//
//   same       everything remembered is still there: also after a failover to a standby that provably had all of it
//   declared   its generation was raised by somebody else: an operator, or a forwarder that died right after it
//   replaced   it is an older state of the same database, or may be: the generation is to be raised
//   foreign    it is another cluster, or another branch of its history: nothing at all can be said about what is common
//   stale      its timeline is older than the one that was followed: most likely an old primary that came back. Following
//              it would undo the failover, so a person decides
import type { History, Remembered } from '../source/remembered.ts';

export interface Found extends History {
  /** Where its log left the remembered timeline; undefined: it never was on it. */
  readonly leftAt: number | undefined;
  /** Where its log ends. */
  readonly end: number;
  readonly nextXid: number;
  readonly hasMark: boolean;
}

/** Of a subscriber, which was told so much, or of this process, which has seen it: the source had it once. */
export interface Claim {
  readonly generation: number;
  /** A watermark that was written once. */
  readonly value: string;
}

export type Verdict =
  | { readonly kind: 'same' }
  | { readonly kind: 'declared'; readonly foreign: boolean }
  | { readonly kind: 'replaced' | 'foreign' | 'stale'; readonly why: string };

/** `before` null: nothing is remembered but what this process has seen itself. */
export function judgeHistory(before: Remembered | null, now: Found): Verdict {
  if (before === null) return now.hasMark ? SAME : LACKS_MARK;
  const foreign = now.system !== before.system;
  if (now.generation > before.generation) return { kind: 'declared', foreign };
  if (foreign) return { kind: 'foreign', why: `it is the cluster ${now.system}, not ${before.system}` };
  if (now.timeline < before.timeline)
    return { kind: 'stale', why: `its timeline is ${now.timeline}, and ${before.timeline} was followed before` };
  if (now.generation < before.generation)
    return {
      kind: 'foreign',
      why: `its generation is ${now.generation}, and ${before.generation} was forwarded before`,
    };
  if (!now.hasMark) return LACKS_MARK;
  if (before.xmax > now.nextXid)
    return { kind: 'replaced', why: 'it has yet to give out transaction ids already seen' };
  if (now.timeline === before.timeline)
    return before.reached > now.end ? { kind: 'replaced', why: 'its log ends before what was read of it' } : SAME;
  if (now.leftAt === undefined) return { kind: 'foreign', why: `it never was on timeline ${before.timeline}` };
  if (before.reached > now.leftAt)
    return { kind: 'replaced', why: 'it was promoted before it had all that was forwarded' };
  // What was forwarded in the last half second before a crash was not stored; only the standby's guard vouches for it.
  return before.guarded
    ? SAME
    : { kind: 'replaced', why: 'it was promoted, and no standby was known to have all that was forwarded' };
}

const SAME = { kind: 'same' } as const;
const LACKS_MARK = { kind: 'replaced', why: 'it lacks the last that was seen of it' } as const;

/**
 * What is remembered may have been restored together with the source, to the same moment: then only others know of what was
 * lost. `watermark`: the greatest of ours that the source has; null: none, another forwarder may have pruned them. Where the
 * generation was raised by hand to one that they have already, nothing says how much of theirs is common.
 */
export function judgeClaims(
  verdict: Verdict,
  claims: readonly Claim[],
  { generation: present, watermark }: { readonly generation: number; readonly watermark: string | null },
): Verdict {
  if (verdict.kind !== 'same' && verdict.kind !== 'declared') return verdict;
  const newest = Math.max(0, ...claims.map(({ generation }) => generation));
  if (newest > present) return { kind: 'foreign', why: `its generation is ${present}, and ${newest} is known` };
  const has = (value: string) => watermark === null || value <= watermark;
  if (claims.every(({ generation, value }) => generation < present || has(value))) return verdict;
  const why = 'a subscriber was told of more than it has';
  return verdict.kind === 'same' ? { kind: 'replaced', why } : { kind: 'foreign', why };
}
