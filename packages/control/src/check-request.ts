// What a change asks for, judged before it touches a table. The tables' own CHECKs say the most important of it again.
import {
  type ChannelOperation,
  channelNameSchema,
  channelRulesSchema,
  type DrillFault,
  type DrillStop,
  drillFaultSchema,
  drillShareSchema,
  drillStopSchema,
  drillTrafficSchema,
  forbiddenCover,
  limiterRulesSchema,
  type OverrideSetting,
  operationSchema,
  overrideSettingSchema,
  type RuleTarget,
  ruleTargetSchema,
  uuidOf,
} from '@ballast/contracts';
import { ChangeRefused } from './errors.ts';

export interface OverrideRequest {
  readonly channel: string;
  readonly operations: readonly ChannelOperation[];
  readonly setting: OverrideSetting;
  /** Default 30 minutes, at most 24 hours, by the database's clock. */
  readonly lastsMs?: number;
  /** A maintenance window may begin later. */
  readonly startsInMs?: number;
}

export interface DrillRequest {
  readonly channel: string;
  readonly operations: readonly ChannelOperation[];
  /** `coloured`: test traffic only. */
  readonly traffic: 'coloured' | 'all';
  /** Of that traffic's calls, 0.001 to 1. */
  readonly share: number;
  readonly fault: DrillFault;
  readonly stopWhen: DrillStop;
  /** Required, at most one hour: a drill ends by itself. */
  readonly lastsMs: number;
}

const MINUTE_MS = 60_000;
export const DEFAULT_LASTS_MS = 30 * MINUTE_MS;
const LEAST_LASTS_MS = 1_000;
const MOST_LASTS_MS = 24 * 60 * MINUTE_MS;
const MOST_DRILL_MS = 60 * MINUTE_MS;
const MOST_STARTS_IN_MS = 30 * 24 * 60 * MINUTE_MS;

export function checkOverride(request: Required<OverrideRequest>): void {
  const { channel, operations, setting, lastsMs, startsInMs } = request;
  checkChannel(channel, operations);
  check(overrideSettingSchema, setting);
  const forbidden = forbiddenCover(setting, operations);
  if (forbidden !== null) throw new ChangeRefused('never_blocked', forbidden);
  checkDuration('an override', lastsMs, MOST_LASTS_MS);
  if (startsInMs !== 0 && setting.kind !== 'maintenance')
    throw new ChangeRefused('invalid', 'only a maintenance window may begin later');
  if (!(startsInMs >= 0 && startsInMs <= MOST_STARTS_IN_MS))
    throw new ChangeRefused('expiry', 'a maintenance window begins within 30 days');
}

/** Whether checkOverride would take it. */
export function isPossible(request: Required<OverrideRequest>): boolean {
  try {
    checkOverride(request);
    return true;
  } catch (error) {
    if (error instanceof ChangeRefused) return false;
    throw error;
  }
}

export function checkDrill({ channel, operations, traffic, share, fault, stopWhen, lastsMs }: DrillRequest): void {
  checkChannel(channel, operations);
  check(drillTrafficSchema, traffic);
  check(drillShareSchema, share);
  check(drillFaultSchema, fault);
  check(drillStopSchema, stopWhen);
  checkDuration('a drill', lastsMs, MOST_DRILL_MS);
}

/** `rules` null: the built-in ones. */
export function checkRules(target: RuleTarget, rules: unknown): void {
  check(ruleTargetSchema, target);
  if (rules !== null) check(target.kind === 'limiter' ? limiterRulesSchema : channelRulesSchema, rules);
}

export function checkChannel(channel: string, operations: readonly string[]): void {
  check(channelNameSchema, channel);
  if (operations.length === 0) throw new ChangeRefused('invalid', 'name at least one operation');
  for (const operation of operations) check(operationSchema, operation);
}

export function uuidIn(prefix: 'ovr' | 'drl', id: string): string {
  const uuid = uuidOf(prefix, id);
  if (uuid === undefined) throw new ChangeRefused('no_such_thing', `${id} is not an id of the form ${prefix}_<uuid>`);
  return uuid;
}

function checkDuration(what: string, lastsMs: number, most: number): void {
  if (lastsMs >= LEAST_LASTS_MS && lastsMs <= most) return;
  const limits = `${LEAST_LASTS_MS / 1_000} s to ${most / (60 * MINUTE_MS)} h`;
  throw new ChangeRefused('expiry', `${what} lasts ${limits}, asked for ${lastsMs} ms`);
}

interface Schema {
  safeParse(value: unknown): {
    error?: { issues: readonly { path: readonly PropertyKey[]; message: string }[] } | undefined;
  };
}

function check(schema: Schema, value: unknown): void {
  const issue = schema.safeParse(value).error?.issues[0];
  if (issue !== undefined) throw new ChangeRefused('invalid', `${issue.path.join('.') || 'value'}: ${issue.message}`);
}
