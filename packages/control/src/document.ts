// What a follower holds: one version of the control database's state, read entry by entry. An entry that is nonsense is
// replaced by the last good one of its kind and named, and the others count.
import {
  type ChannelRulesInForce,
  channelRulesInForceSchema,
  controlEnvelopeSchema,
  type Drill,
  drillSchema,
  type LetIn,
  type LimiterRulesInForce,
  letInSchema,
  limiterRulesInForceSchema,
  type Nudge,
  nudgeSchema,
  type Override,
  type OverrideKind,
  overrideSchema,
} from '@ballast/contracts';

export interface ControlDocument {
  readonly generation: number;
  readonly version: number;
  readonly anchor: string;
  readonly channels: readonly ChannelRulesInForce[];
  readonly shadows: readonly ChannelRulesInForce[];
  readonly limiters: readonly LimiterRulesInForce[];
  readonly overrides: readonly Override[];
  readonly drills: readonly Drill[];
  readonly nudges: readonly Nudge[];
  readonly let_in: readonly LetIn[];
}

/** Nothing was ever set: every service runs on its built-in, conservative rules. */
export const emptyDocument: ControlDocument = {
  generation: 0,
  version: 0,
  anchor: '',
  channels: [],
  shadows: [],
  limiters: [],
  overrides: [],
  drills: [],
  nudges: [],
  let_in: [],
};

export type ReadDocument =
  | { readonly kind: 'read'; readonly document: ControlDocument; readonly problems: readonly string[] }
  | { readonly kind: 'nonsense'; readonly problem: string };

interface EntrySchema<T> {
  safeParse(
    value: unknown,
  ):
    | { success: true; data: T }
    | { success: false; error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] } };
}

/** `lastGood`: where the place of a nonsensical entry is taken from. */
export function readDocument(value: unknown, lastGood: ControlDocument): ReadDocument {
  const envelope = controlEnvelopeSchema.safeParse(value);
  if (!envelope.success) return { kind: 'nonsense', problem: `not a control document: ${told(envelope.error)}` };
  const { generation, version, anchor, ...lists } = envelope.data;
  const problems: string[] = [];

  function entries<T>(
    what: string,
    schema: EntrySchema<T>,
    found: readonly unknown[],
    good: readonly T[],
    keyOf: (e: T) => string,
  ): T[] {
    return found.flatMap((entry) => {
      const parsed = schema.safeParse(entry);
      if (parsed.success) return [parsed.data];
      // Its key may be all that can be trusted of it; where even that is missing, it stands for nothing.
      const key = keyOf(entry as T);
      const kept = good.filter((candidate) => keyOf(candidate) === key);
      problems.push(
        `${what} ${key}: ${told(parsed.error)}; ${kept.length > 0 ? 'the last good one stays' : 'left out'}`,
      );
      return kept;
    });
  }

  const channelKey = (e: ChannelRulesInForce) => `${e?.channel} ${e?.operation}`;
  return {
    kind: 'read',
    problems,
    document: {
      generation,
      version,
      anchor,
      channels: entries('rules', channelRulesInForceSchema, lists.channels, lastGood.channels, channelKey),
      shadows: entries('shadow rules', channelRulesInForceSchema, lists.shadows, lastGood.shadows, channelKey),
      limiters: entries(
        'limiter',
        limiterRulesInForceSchema,
        lists.limiters,
        lastGood.limiters,
        (e) => `${e?.limiter}`,
      ),
      overrides: entries('override', overrideSchema, lists.overrides, lastGood.overrides, (e) => `${e?.id}`),
      drills: entries('drill', drillSchema, lists.drills, lastGood.drills, (e) => `${e?.id}`),
      nudges: entries('nudge', nudgeSchema, lists.nudges, [], (e) => `${e?.version}`),
      let_in: entries('let in', letInSchema, lists.let_in, lastGood.let_in, (e) => `${e?.version}`),
    },
  };
}

function told(error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] }): string {
  const issue = error.issues[0];
  return issue === undefined ? 'nonsense' : `${issue.path.join('.') || 'value'} ${issue.message}`;
}

/** True: `a` is a later state of the world than `b`. */
export function isLater(a: ControlDocument, b: ControlDocument): boolean {
  return a.generation !== b.generation ? a.generation > b.generation : a.version > b.version;
}

/** Those in force at `now` (database time, ms). */
export function inForce<T extends Override | Drill>(entries: readonly T[], now: number): T[] {
  return entries.filter((entry) =>
    'starts_at' in entry ? entry.starts_at <= now && now < entry.expires_at : now < entry.ends_at,
  );
}

const gates: readonly OverrideKind[] = [
  'forced_open',
  'percent_open',
  'drain',
  'forced_closed',
  'metrics_only',
  'maintenance',
];

/** The override that decides: of several in force, the one that was set last. `limit` and gates go beside each other. */
export function decidingOverride(
  overrides: readonly Override[],
  of: { readonly channel: string; readonly operation: string; readonly class: 'gate' | 'limit' },
): Override | null {
  let deciding: Override | null = null;
  for (const override of overrides) {
    const isGate = gates.includes(override.setting.kind);
    const covers = override.channel === of.channel && override.operations.some((covered) => covered === of.operation);
    if (!covers || isGate !== (of.class === 'gate')) continue;
    if (deciding === null || override.version > deciding.version) deciding = override;
  }
  return deciding;
}
