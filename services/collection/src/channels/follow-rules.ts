// What operators decide, on this process's channels: rules, gates, limits, shares, shadow rules, drills. Everything is
// judged before anything is applied, so a state that one policy would not take changes none of them.
import { builtInRules, type ChannelEntry, type HttpChannel, type Operation } from '@ballast/channels';
import type { Drill, LetIn, Override } from '@ballast/contracts';
import { type ControlFollower, type ControlState, decidingOverride, followControl, shareOf } from '@ballast/control';
import {
  type ChannelPolicy,
  checkDrill,
  checkGate,
  checkRules,
  type DrillPlan,
  type DrillReport,
  type Gate,
  LONGEST_DRILL_MS,
  type PolicyRules,
} from '@ballast/resilience';
import type { Logger } from '@ballast/telemetry';
import type { Knex } from 'knex';
import type { WayIn } from '../http/way-in.ts';
import type { CollectionMetrics } from '../metrics.ts';
import { keepControlCopy, lastControlCopy } from './control-copy.sql.ts';
import type { PolicyListener } from './open-channels.ts';

export interface FollowRulesOptions {
  /** Undefined: no control database; what was kept, or the built-in rules, hold. */
  readonly url: string | undefined;
  readonly instance: string;
  readonly stateDir: string;
  /** The order database, which keeps every state applied. */
  readonly knex: Knex;
  readonly channels: ReadonlyMap<string, HttpChannel>;
  readonly entries: readonly ChannelEntry[];
  /** Those of `openChannels`: a drill's end is heard there. */
  readonly listeners: PolicyListener[];
  /** Takes the limiters of requests that come in. */
  readonly wayIn: Pick<WayIn, 'apply'>;
  readonly logger: Logger;
  readonly metrics: Pick<CollectionMetrics, 'gauge' | 'glassBroken' | 'operatorLetIn'>;
}

/** Resolves when what was kept is in force on every channel; then follows until closed. */
export async function followRules(options: FollowRulesOptions): Promise<ControlFollower> {
  const { channels, entries, knex, logger } = options;
  const policies = entries.flatMap((entry) => policiesOf(entry, channels));
  const tellOfBrokenGlass = createTelling<Override>(({ id }) => id, options.metrics.glassBroken);
  const tellOfLetIn = createTelling<LetIn>(({ version }) => `${version}`, options.metrics.operatorLetIn);
  let nudgedUpTo: number | null = null;

  function onChange(state: ControlState): void {
    const plans = policies.map((policy) => ({ policy, plan: planOf(policy, state) }));
    for (const { policy, plan } of plans) policy.apply(plan);
    options.wayIn.apply(state);
    tellOfBrokenGlass(state.overrides.filter(({ break_glass }) => break_glass));
    tellOfLetIn(state.letIn);
    // A process that has just started has nothing to be nudged out of.
    for (const nudge of state.nudges) if (nudgedUpTo !== null && nudge.version > nudgedUpTo) nudgeAll(nudge);
    if (state.source === 'control') nudgedUpTo = Math.max(nudgedUpTo ?? 0, state.version);
  }

  function nudgeAll({ channel, action }: ControlState['nudges'][number]): void {
    logger.warn({ channel, action }, 'operator: at once');
    for (const { policy } of policies.filter((one) => one.channel === channel))
      action === 'probe_now' ? policy.probeNow() : policy.closeNow();
  }

  const follower = await followControl({
    url: options.url,
    service: 'collection',
    instance: options.instance,
    stateDir: options.stateDir,
    log: logger,
    onChange,
    leases: (target) => target.startsWith('limiter:') || policies.some((policy) => policy.target === target),
    healthyChannels: () =>
      policies
        .filter(({ operation, policy }) => operation === 'pay' && policy.snapshot().state !== 'open')
        .map(({ channel }) => channel),
    persist: (copy) => keepControlCopy(knex, copy),
    loadPersisted: () => lastControlCopy(knex),
  });
  options.listeners.push((channel, operation, event) => {
    if (event.kind !== 'drill_ended') return;
    policies.find((one) => one.channel === channel && one.operation === operation)?.drillEnded(event.report.id);
    follower.reportDrill(reportOf(event.report));
  });
  watch(options.metrics, policies, follower);
  return follower;
}

/** Of what is so now, each once; after a restart once more, rather than never. */
function createTelling<T>(idOf: (one: T) => string, tell: (one: T) => void): (now: readonly T[]) => void {
  let told: ReadonlySet<string> = new Set();
  return (now) => {
    for (const one of now) if (!told.has(idOf(one))) tell(one);
    told = new Set(now.map(idOf));
  };
}

interface Plan {
  readonly rules: PolicyRules;
  readonly gate: Gate;
  readonly share: number;
  readonly shadow: PolicyRules | null;
  readonly drill: DrillPlan | null;
}

/** One channel and operation of this process, and what was last applied to it. */
interface FollowedPolicy {
  readonly channel: string;
  readonly operation: Operation;
  /** As the control database names it. */
  readonly target: string;
  readonly builtIn: PolicyRules;
  readonly policy: ChannelPolicy;
  apply(plan: Plan): void;
  drillEnded(id: string): void;
}

function policiesOf(entry: ChannelEntry, channels: ReadonlyMap<string, HttpChannel>): FollowedPolicy[] {
  const channel = channels.get(entry.name);
  if (channel === undefined) return [];
  return (Object.entries(channel.policies) as [Operation, ChannelPolicy][]).map(([operation, policy]) => ({
    channel: entry.name,
    operation,
    target: `channel:${entry.name}:${operation}`,
    builtIn: builtInRules(entry)[operation],
    policy,
    ...applying(policy),
  }));
}

/** Applies only what differs from before: setting the same limiter or gate again would begin it anew. */
function applying(policy: ChannelPolicy): Pick<FollowedPolicy, 'apply' | 'drillEnded'> {
  const before = new Map<string, string>();
  const endedDrills = new Set<string>();
  const differs = (what: keyof Plan, value: unknown) => {
    const text = JSON.stringify(value);
    const same = before.get(what) === text;
    before.set(what, text);
    return !same;
  };

  function applyDrill(plan: DrillPlan | null): void {
    const running = policy.snapshot().drill?.id;
    if (plan !== null && plan.id !== running && !endedDrills.has(plan.id)) policy.startDrill(plan);
    if (plan === null && running !== undefined) policy.stopDrill('stopped from the control database');
  }

  return {
    apply: ({ rules, gate, share, shadow, drill }) => {
      if (differs('rules', rules)) policy.applyRules(rules);
      if (differs('share', share)) policy.setShare(share);
      if (differs('gate', gate)) policy.setGate(gate);
      if (differs('shadow', shadow)) policy.setShadow(shadow);
      applyDrill(drill);
    },
    drillEnded: (id) => {
      endedDrills.add(id);
    },
  };
}

/** Throws RangeError where a policy would not take it. */
function planOf(of: FollowedPolicy, state: ControlState): Plan {
  const { channel, operation } = of;
  const isOf = (one: { channel: string; operation: string }) => one.channel === channel && one.operation === operation;
  const put = state.channels.find(isOf);
  const candidate = state.shadows.find(isOf);
  const limit = decidingOverride(state.overrides, { channel, operation, class: 'limit' });
  const rules = limited(put === undefined ? of.builtIn : { ...put.rules, version: put.version }, limit);
  const isShared = rules.rate.scope === 'cluster' || rules.quota.scope === 'cluster';
  return {
    rules: checkRules(rules),
    gate: checkGate(gateOf(decidingOverride(state.overrides, { channel, operation, class: 'gate' }))),
    share: isShared ? shareOf(state.shares, of.target) : 1,
    shadow: candidate === undefined ? null : checkRules({ ...candidate.rules, version: candidate.version }),
    drill: drillOf(latest(state.drills.filter((drill) => coversDrill(drill, of))), state.now),
  };
}

const LIMIT_BURST_SECONDS = 0.1;

/**
 * An operator's limit: so many calls a second for the whole cluster, so many at once for each instance. It only narrows what
 * the rules allow; more than that takes rules, which an admin puts. (Rules that count for each instance by itself give way:
 * how many instances there are is not known here.)
 */
function limited(rules: PolicyRules, limit: Override | null): PolicyRules {
  if (limit === null || limit.setting.kind !== 'limit') return rules;
  const { perSecond, maxInFlight } = limit.setting;
  const burst = Math.max(1, Math.round((perSecond ?? 0) * LIMIT_BURST_SECONDS));
  const { bulkhead } = rules;
  return {
    ...rules,
    version: Math.max(rules.version, limit.version),
    ...(maxInFlight === undefined
      ? {}
      : { bulkhead: { ...bulkhead, maxInFlight: Math.min(bulkhead.maxInFlight, maxInFlight) } }),
    ...(perSecond === undefined || isTighter(rules.rate, perSecond)
      ? {}
      : {
          rate: {
            mode: 'enforce',
            scope: 'cluster',
            limit: { algorithm: 'token_bucket', perSecond, burst },
            warmUpMs: 0,
          } as const,
        }),
  };
}

function isTighter({ mode, scope, limit }: PolicyRules['rate'], perSecond: number): boolean {
  return mode === 'enforce' && scope === 'cluster' && 'perSecond' in limit && limit.perSecond <= perSecond;
}

function gateOf(override: Override | null): Gate {
  if (override === null) return { mode: 'automatic' };
  const reason = `${override.reason} (${override.author}, ${override.id})`;
  switch (override.setting.kind) {
    case 'forced_open':
      return { mode: 'forced_open', reason };
    case 'maintenance':
      return { mode: 'forced_open', reason: `maintenance: ${reason}` };
    case 'percent_open':
      return { mode: 'percent_open', share: override.setting.share, reason };
    case 'drain':
      return { mode: 'draining', reason };
    case 'forced_closed':
      return { mode: 'forced_closed', reason };
    case 'metrics_only':
      return { mode: 'metrics_only', reason };
    case 'limit':
      throw new Error('BUG: a limit is not a gate');
  }
}

const coversDrill = (drill: Drill, { channel, operation }: FollowedPolicy) =>
  drill.channel === channel && drill.operations.includes(operation);

const latest = (drills: readonly Drill[]) =>
  drills.reduce<Drill | null>((last, drill) => (last === null || drill.version > last.version ? drill : last), null);

const LEAST_DRILL_MS = 100;

function drillOf(drill: Drill | null, now: number): DrillPlan | null {
  if (drill === null) return null;
  const { id, fault, share, traffic, stop_when: stopWhen } = drill;
  const durationMs = Math.min(LONGEST_DRILL_MS, Math.round(drill.ends_at - now));
  return durationMs < LEAST_DRILL_MS ? null : checkDrill({ id, fault, share, traffic, durationMs, stopWhen });
}

function reportOf({ id, endedBy, why, passed, fault: _fault, ...seen }: DrillReport) {
  const numbers = {
    ...seen,
    ranMs: Math.round(seen.ranMs),
    slowestMs: Math.round(seen.slowestMs),
    passed: passed ? 1 : 0,
  };
  return { drill: id, tripped: endedBy === 'stop_condition', why, numbers };
}

function watch(
  metrics: Pick<CollectionMetrics, 'gauge'>,
  policies: readonly FollowedPolicy[],
  { state, status }: ControlFollower,
): void {
  const labels = ['channel', 'operation'] as const;
  const classes = ['gate', 'limit'] as const;
  metrics.gauge('ballast_channel_override_active', '1 while an override holds.', labels, function () {
    const { overrides } = state();
    for (const { channel, operation } of policies) {
      const active = classes.some((of) => decidingOverride(overrides, { channel, operation, class: of }) !== null);
      this.set({ channel, operation }, active ? 1 : 0);
    }
  });
  metrics.gauge(
    'ballast_channel_override_expires_timestamp_seconds',
    'When the override in force ends by itself, by the control database.',
    [...labels, 'kind', 'break_glass'],
    function () {
      this.reset();
      const { overrides } = state();
      for (const { channel, operation } of policies)
        for (const of of classes) {
          const override = decidingOverride(overrides, { channel, operation, class: of });
          if (override === null) continue;
          const { setting, break_glass, expires_at } = override;
          this.set({ channel, operation, kind: setting.kind, break_glass: String(break_glass) }, expires_at / 1_000);
        }
    },
  );
  metrics.gauge(
    'ballast_operator_let_in_timestamp_seconds',
    'When somebody was made an operator, or given a password or role, by another; for a day, by the control database.',
    ['name', 'by'],
    function () {
      this.reset();
      for (const { name, author: by, at } of state().letIn) this.set({ name, by }, at / 1_000);
    },
  );
  metrics.gauge('ballast_control_connected', '1 while the control database answers.', [], function () {
    this.set(status().connected ? 1 : 0);
  });
  metrics.gauge('ballast_control_version', 'Version of the rules in force, by their source.', ['source'], function () {
    this.reset();
    this.set({ source: status().source }, status().version);
  });
}
