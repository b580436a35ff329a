// Rules, overrides and drills: what an operator sets in the control database, and every service follows. The rules of a
// channel's operation are the PolicyRules of packages/resilience, with the same ranges (a test holds both together).
import { z } from 'zod';
import { idSchema } from './ids.ts';

export const operations = ['pay', 'inquiry', 'reversal', 'refund', 'payout'] as const;
export type ChannelOperation = (typeof operations)[number];
export const operationSchema = z.enum(operations);

export const channelNameSchema = z.string().regex(/^[a-z0-9_]{1,32}$/, 'must be 1 to 32 of a-z, 0-9 and _');
const limiterNameSchema = z.string().regex(/^[a-z0-9_]{1,64}$/, 'must be 1 to 64 of a-z, 0-9 and _');

const range = (least: number, most: number) => z.number().min(least).max(most);
const whole = (least: number, most: number) => z.int().min(least).max(most);

const limiterModeSchema = z.enum(['enforce', 'alarm_only', 'off']);
const scopeSchema = z.enum(['instance', 'cluster']);
const perSecondSchema = range(0.001, 1_000_000);

const limitSchema = z.discriminatedUnion('algorithm', [
  z.strictObject({
    algorithm: z.literal('token_bucket'),
    perSecond: perSecondSchema,
    burst: whole(1, 1_000_000),
  }),
  z.strictObject({
    algorithm: z.literal('leaky_bucket'),
    perSecond: perSecondSchema,
    maxWaiting: whole(0, 100_000),
  }),
  z.strictObject({ algorithm: z.literal('counter'), calls: whole(1, 100_000), windowMs: range(1, 3_600_000) }),
  // By bottleneck, which paces exactly up to 200 a second.
  z.strictObject({ algorithm: z.literal('paced'), perSecond: range(0.001, 200), maxWaiting: whole(0, 100_000) }),
]);

const rateSchema = z.strictObject({
  mode: limiterModeSchema,
  scope: scopeSchema,
  limit: limitSchema,
  warmUpMs: range(0, 3_600_000),
});

const breakerSchema = z
  .strictObject({
    failureRate: range(0.01, 1),
    slowMs: range(1, 600_000),
    slowRate: range(0.01, 1),
    minimumCalls: whole(1, 100_000),
    windowMs: range(1_000, 300_000),
    openMs: range(10, 600_000),
    openGrowth: range(1, 10),
    longestOpenMs: range(10, 3_600_000),
    probes: whole(1, 100),
    probeLeaseMs: range(10, 600_000),
    rampMs: range(0, 600_000),
  })
  .refine((rules) => rules.longestOpenMs >= rules.openMs, {
    path: ['longestOpenMs'],
    message: 'must not be less than openMs',
  });

const timeoutSchema = z.discriminatedUnion('mode', [
  z.strictObject({ mode: z.literal('fixed'), ms: range(1, 600_000) }),
  z
    .strictObject({
      mode: z.literal('auto'),
      quantile: z.enum(['p99', 'p95']),
      initialMs: range(1, 600_000),
      leastMs: range(1, 600_000),
      mostMs: range(1, 600_000),
    })
    .refine((rules) => rules.leastMs <= rules.initialMs && rules.initialMs <= rules.mostMs, {
      path: ['initialMs'],
      message: 'must lie between leastMs and mostMs',
    }),
]);

/** The rules of one channel and operation; their version is the control version that put them. */
export const channelRulesSchema = z
  .strictObject({
    quota: z.strictObject({
      mode: limiterModeSchema,
      scope: scopeSchema,
      perSecond: perSecondSchema,
      burst: whole(1, 1_000_000),
    }),
    retry: z
      .strictObject({
        retries: whole(0, 3),
        baseMs: range(1, 60_000),
        longestMs: range(1, 600_000),
        budgetShare: range(0, 1),
        budgetReserve: range(0, 10_000),
      })
      .refine((rules) => rules.longestMs >= rules.baseMs, {
        path: ['longestMs'],
        message: 'must not be less than baseMs',
      }),
    breaker: breakerSchema,
    bulkhead: z.strictObject({ maxInFlight: whole(1, 10_000), maxWaiting: whole(0, 100_000) }),
    rate: rateSchema,
    timeout: timeoutSchema,
  })
  .meta({ id: 'ChannelRules' });
export type ChannelRules = z.infer<typeof channelRulesSchema>;

/** An inbound limiter: per terminal, merchant or interface. */
export const limiterRulesSchema = rateSchema.meta({ id: 'LimiterRules' });
export type LimiterRules = z.infer<typeof limiterRulesSchema>;

/** What a set of rules is for. `shadow`: a candidate that runs beside the live rules and refuses nothing. */
export const ruleTargetSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('channel'), channel: channelNameSchema, operation: operationSchema }),
  z.strictObject({ kind: z.literal('shadow'), channel: channelNameSchema, operation: operationSchema }),
  z.strictObject({ kind: z.literal('limiter'), limiter: limiterNameSchema }),
]);
export type RuleTarget = z.infer<typeof ruleTargetSchema>;

/** What an override does to a channel's operations. */
export const overrideSettingSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('forced_open') }),
  z.strictObject({ kind: z.literal('percent_open'), share: range(0, 1) }),
  z.strictObject({ kind: z.literal('drain') }),
  z.strictObject({ kind: z.literal('forced_closed') }),
  z.strictObject({ kind: z.literal('metrics_only') }),
  z
    .strictObject({
      kind: z.literal('limit'),
      perSecond: perSecondSchema.optional(),
      maxInFlight: whole(1, 10_000).optional(),
    })
    .refine((limit) => limit.perSecond !== undefined || limit.maxInFlight !== undefined, {
      message: 'needs perSecond, maxInFlight or both',
    }),
  z.strictObject({ kind: z.literal('maintenance') }),
]);
export type OverrideSetting = z.infer<typeof overrideSettingSchema>;
export type OverrideKind = OverrideSetting['kind'];

/** Inquiries and reversals must pass whatever an operator does to a channel, or what is in doubt could never end. */
const neverBlocked: readonly ChannelOperation[] = ['inquiry', 'reversal'];
const LEAST_LIMIT_PER_SECOND = 1;

/** Why this override may not cover these operations; null: it may. */
export function forbiddenCover(setting: OverrideSetting, covered: readonly ChannelOperation[]): string | null {
  const forbidden = covered.filter((operation) => neverBlocked.includes(operation));
  if (forbidden.length === 0) return null;
  switch (setting.kind) {
    case 'forced_open':
    case 'percent_open':
    case 'drain':
    case 'maintenance':
      return `${setting.kind} may never cover ${forbidden.join(' or ')}: what is in doubt could not end`;
    case 'limit':
      return setting.perSecond === undefined || setting.perSecond >= LEAST_LIMIT_PER_SECOND
        ? null
        : `a limit on ${forbidden.join(' or ')} must leave at least ${LEAST_LIMIT_PER_SECOND} a second`;
    case 'forced_closed':
    case 'metrics_only':
      return null;
  }
}

const milliseconds = z.number().min(0);

export const overrideSchema = z
  .strictObject({
    id: idSchema('ovr'),
    version: z.int().min(1),
    channel: channelNameSchema,
    operations: z.array(operationSchema).min(1),
    setting: overrideSettingSchema,
    author: z.string().min(1),
    reason: z.string().min(1),
    /** Done by one person alone where it takes two, or without the role for it. */
    break_glass: z.boolean().default(false),
    /** Database time, ms since the epoch. */
    starts_at: milliseconds,
    expires_at: milliseconds,
  })
  .superRefine((override, context) => {
    const forbidden = forbiddenCover(override.setting, override.operations);
    if (forbidden !== null) context.addIssue({ code: 'custom', path: ['operations'], message: forbidden });
  })
  .meta({ id: 'Override' });
export type Override = z.infer<typeof overrideSchema>;

export const drillFaultSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('latency'), ms: range(1, 600_000) }),
  z.strictObject({ kind: z.literal('timeout') }),
  z.strictObject({ kind: z.literal('reset') }),
  z.strictObject({ kind: z.literal('server_error'), status: whole(500, 599) }),
  z.strictObject({ kind: z.literal('wrong_amount') }),
  z.strictObject({ kind: z.literal('duplicate_answer') }),
  z.strictObject({ kind: z.literal('trickle'), bytesPerSecond: range(0.1, 1_000_000) }),
]);
export type DrillFault = z.infer<typeof drillFaultSchema>;

/** A drill ends early, everywhere, when one instance sees any of these. Null: not looked at. */
export const drillStopSchema = z.strictObject({
  /** Fewer calls than this prove nothing. */
  minimumCalls: whole(1, 1_000_000),
  failureRate: range(0.01, 1).nullable(),
  slowestMs: range(1, 600_000).nullable(),
  breakerOpens: z.boolean(),
});
export type DrillStop = z.infer<typeof drillStopSchema>;

/** Which share of which calls: `coloured` is test traffic only. */
export const drillTrafficSchema = z.enum(['coloured', 'all']);
export const drillShareSchema = range(0.001, 1);

export const drillSchema = z
  .strictObject({
    id: idSchema('drl'),
    version: z.int().min(1),
    channel: channelNameSchema,
    operations: z.array(operationSchema).min(1),
    traffic: drillTrafficSchema,
    share: drillShareSchema,
    fault: drillFaultSchema,
    stop_when: drillStopSchema,
    author: z.string().min(1),
    reason: z.string().min(1),
    started_at: milliseconds,
    ends_at: milliseconds,
  })
  .meta({ id: 'Drill' });
export type Drill = z.infer<typeof drillSchema>;

/** To be done once, at once: an open breaker probes now, or closes now. */
export const nudgeSchema = z.strictObject({
  version: z.int().min(1),
  channel: channelNameSchema,
  action: z.enum(['probe_now', 'close_now']),
});
export type Nudge = z.infer<typeof nudgeSchema>;

/** An account whose password somebody else may know: they added it, enabled it, or changed it, within the last day. */
export const letInSchema = z.strictObject({
  version: z.int().min(1),
  name: z.string().min(1),
  author: z.string().min(1),
  at: milliseconds,
});
export type LetIn = z.infer<typeof letInSchema>;

const rulesInForce = { version: z.int().min(1) };
export const channelRulesInForceSchema = z.strictObject({
  ...rulesInForce,
  channel: channelNameSchema,
  operation: operationSchema,
  rules: channelRulesSchema,
});
export const limiterRulesInForceSchema = z.strictObject({
  ...rulesInForce,
  limiter: limiterNameSchema,
  rules: limiterRulesSchema,
});
export type ChannelRulesInForce = z.infer<typeof channelRulesInForceSchema>;
export type LimiterRulesInForce = z.infer<typeof limiterRulesInForceSchema>;

const MOST_ENTRIES = 5_000;
const entries = z.array(z.unknown()).max(MOST_ENTRIES);

/**
 * The whole of the control database's state at one version. Its entries are judged one by one by their own schemas:
 * nonsense in one must not keep an override of another channel from being followed.
 */
export const controlEnvelopeSchema = z.object({
  generation: z.int().min(1),
  version: z.int().min(0),
  /** Hash of the audit row that made this version, hex; empty at version 0. Names the history it belongs to. */
  anchor: z.string().regex(/^([0-9a-f]{64})?$/),
  channels: entries,
  shadows: entries,
  limiters: entries,
  overrides: entries,
  drills: entries,
  nudges: entries.default([]),
  let_in: entries.default([]),
});
