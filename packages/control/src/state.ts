// What is in force at one moment: the document's rules, and of its overrides and drills those whose time it is.
import type { ChannelRulesInForce, Drill, LetIn, LimiterRulesInForce, Nudge, Override } from '@ballast/contracts';
import { type ControlDocument, inForce } from './document.ts';

export type ControlSource = 'control' | 'disk' | 'persisted' | 'built_in';

export interface ControlState {
  /** Where the document is from. `built_in`: nothing was ever known, the services' conservative rules hold. */
  readonly source: ControlSource;
  /** When this was so: database time, ms since the epoch. */
  readonly now: number;
  readonly generation: number;
  readonly version: number;
  readonly channels: readonly ChannelRulesInForce[];
  readonly shadows: readonly ChannelRulesInForce[];
  readonly limiters: readonly LimiterRulesInForce[];
  /** In force now. */
  readonly overrides: readonly Override[];
  /** Running now; none while the control database is away, because nobody could stop them. */
  readonly drills: readonly Drill[];
  /** Of the last minute, oldest first; a service does each once. None but from the control database itself. */
  readonly nudges: readonly Nudge[];
  /** Whom somebody else let in within the last day: together they are no two people. */
  readonly letIn: readonly LetIn[];
  /** This process's share, 0 to 1, of each limit whose scope is the cluster: `channel:bank_a:pay`, `limiter:merchant`. */
  readonly shares: ReadonlyMap<string, number>;
}

const LET_IN_MS = 24 * 60 * 60_000;

export function stateAt(
  document: ControlDocument,
  source: ControlSource,
  at: { readonly now: number; readonly drillsMayRun: (drill: Drill) => boolean },
  shares: ReadonlyMap<string, number>,
): ControlState {
  const { generation, version, channels, shadows, limiters } = document;
  const overrides = inForce(document.overrides, at.now);
  const drills = inForce(document.drills, at.now).filter(at.drillsMayRun);
  const nudges = source === 'control' ? document.nudges : [];
  const letIn = document.let_in.filter((one) => at.now < one.at + LET_IN_MS);
  const rules = { channels, shadows, limiters };
  return { source, now: at.now, generation, version, ...rules, overrides, drills, nudges, letIn, shares };
}

/** Two states with the same key ask the same of a service. */
export function keyOf(state: ControlState): string {
  const { source, generation, version, overrides, drills, shares } = state;
  return JSON.stringify([
    source,
    generation,
    version,
    overrides.map(({ id, operations }) => [id, operations]),
    drills.map(({ id }) => id),
    [...shares],
  ]);
}
