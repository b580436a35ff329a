// For those who change the control database: the command line now, the console later. Each change names its author, its
// reason and the version seen, is committed, and then waited for: the answer names the processes that have applied it
// and those that have not.
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
  type Nudge,
  type OverrideSetting,
  operationSchema,
  overrideSettingSchema,
  publicId,
  type RuleTarget,
  ruleTargetSchema,
  uuidOf,
} from '@ballast/contracts';
import { type Knex, openDatabase, withTransaction } from '@ballast/database';
import { type AuditReport, verifyAudit } from './audit.ts';
import { type Asked, type Change, makeChange } from './change.ts';
import {
  endOverride,
  giveWay,
  insertAudit,
  insertDrill,
  insertNudge,
  insertOverride,
  insertRules,
  raiseGeneration,
  stopDrill,
} from './control.sql.ts';
import { ChangeRefused } from './errors.ts';
import {
  auditSql,
  documentSql,
  drillsSql,
  instancesSql,
  overridesSql,
  rulesSql,
  targetVersionSql,
} from './reads.sql.ts';
import { openUnrecorded } from './unrecorded.ts';

export interface ControlStoreOptions {
  readonly url: string;
  /** Where tries are kept that the database was too far away to audit. */
  readonly stateDir?: string;
}

export interface InstanceReport {
  readonly name: string;
  readonly service: string;
  readonly pid: number;
  readonly generation: number;
  readonly appliedVersion: number;
  readonly source: string;
  readonly problem: string | null;
  readonly silentMs: number;
}

export interface Outcome {
  readonly version: number;
  /** Of the override or drill that was made. */
  readonly id: string | null;
  readonly applied: readonly InstanceReport[];
  readonly lagging: readonly InstanceReport[];
}

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
const DEFAULT_LASTS_MS = 30 * MINUTE_MS;
const LEAST_LASTS_MS = 1_000;
const MOST_LASTS_MS = 24 * 60 * MINUTE_MS;
const MOST_DRILL_MS = 60 * MINUTE_MS;
const MOST_STARTS_IN_MS = 30 * 24 * 60 * MINUTE_MS;
/** Promise 9: within one second on every instance that is connected. */
const APPLIED_WITHIN_MS = 1_000;
const LOOK_EVERY_MS = 20;
/** A process that was not heard of for so long is not waited for, only named. Followers report every second. */
const CONNECTED_MS = 3_000;
const POOL_MAX = 4;
const LOCK_TIMEOUT_MS = 2_000;

export type ControlStore = ReturnType<typeof openControlStore>;

/** What a change of a channel is guarded by: everything about it shares one version. */
export const channelTarget = (channel: string): string => `channel:${channel}`;

export function ruleTargetName(target: RuleTarget): string {
  return target.kind === 'limiter'
    ? `limiter:${target.limiter}`
    : `${target.kind}:${target.channel}:${target.operation}`;
}

export function openControlStore(options: ControlStoreOptions) {
  const knex = openDatabase({
    url: options.url,
    applicationName: 'control store',
    poolMax: POOL_MAX,
    lockTimeoutMs: LOCK_TIMEOUT_MS,
    settings: { role: 'ballast_control_writer' },
  });
  const unrecorded = openUnrecorded(options.stateDir);

  async function change(
    asked: Asked,
    by: Change,
    work: (trx: Knex.Transaction, version: number) => Promise<Readonly<Record<string, unknown>>>,
  ): Promise<Outcome> {
    const { version, made } = await makeChange(knex, unrecorded, asked, by, work);
    await unrecorded.drain((entry) => withTransaction(knex, 'control audit', (trx) => insertAudit(trx, entry)));
    const id = typeof made['id'] === 'string' ? made['id'] : null;
    return { version, id, ...(await waitApplied(knex, version)) };
  }

  const rows = async (sql: string, bindings: readonly (string | number | null)[]) =>
    (await knex.raw(sql, bindings as Knex.RawBinding[])).rows as Readonly<Record<string, unknown>>[];

  return {
    setOverride: (request: OverrideRequest, by: Change): Promise<Outcome> => {
      const { channel, setting, lastsMs = DEFAULT_LASTS_MS, startsInMs = 0 } = request;
      const operations = [...new Set(request.operations)].sort();
      const details = { channel, operations, setting, lasts_ms: lastsMs, starts_in_ms: startsInMs };
      const asked = { action: 'set_override', target: channelTarget(channel), details };
      return change(asked, by, async (trx, version) => {
        checkChannel(channel, operations);
        checkOverride(setting, operations, lastsMs, startsInMs);
        const author = by.author;
        const replaced =
          startsInMs > 0 ? [] : await giveWay(trx, { version, channel, operations, kind: setting.kind, author });
        const row = { version, channel, operations, setting, author, reason: by.reason, startsInMs, lastsMs };
        const id = publicId('ovr', await insertOverride(trx, row));
        return { id, replaced: replaced.map((uuid) => publicId('ovr', uuid)) };
      });
    },

    endOverride: (channel: string, id: string, by: Change): Promise<Outcome> =>
      change({ action: 'end_override', target: channelTarget(channel), details: { id } }, by, async (trx, version) => {
        const ended = await endOverride(trx, { id: uuid('ovr', id), channel, version, ...by });
        if (!ended) throw new ChangeRefused('no_such_thing', `${channel} has no override ${id} in force or scheduled`);
        return {};
      }),

    /** `rules` null: back to the built-in ones. */
    putRules: (target: RuleTarget, rules: unknown, by: Change): Promise<Outcome> => {
      const versioned = target.kind === 'limiter' ? ruleTargetName(target) : channelTarget(target.channel);
      const details = { rule_target: ruleTargetName(target), rules };
      return change({ action: 'put_rules', target: versioned, details }, by, async (trx, version) => {
        checked(ruleTargetSchema, target);
        if (rules !== null) checked(target.kind === 'limiter' ? limiterRulesSchema : channelRulesSchema, rules);
        const { author, reason } = by;
        await insertRules(trx, { version, target: ruleTargetName(target), rules, author, reason });
        return {};
      });
    },

    startDrill: (request: DrillRequest, by: Change): Promise<Outcome> => {
      const { channel, traffic, share, fault, stopWhen, lastsMs } = request;
      const operations = [...new Set(request.operations)].sort();
      const details = { channel, operations, traffic, share, fault, stop_when: stopWhen, lasts_ms: lastsMs };
      return change({ action: 'start_drill', target: channelTarget(channel), details }, by, async (trx, version) => {
        checkChannel(channel, operations);
        checked(drillTrafficSchema, traffic);
        checked(drillShareSchema, share);
        checked(drillFaultSchema, fault);
        checked(drillStopSchema, stopWhen);
        inRange('a drill', lastsMs, LEAST_LASTS_MS, MOST_DRILL_MS);
        const row = { version, channel, operations, traffic, share, fault, stopWhen, lastsMs };
        return { id: publicId('drl', await insertDrill(trx, { ...row, author: by.author, reason: by.reason })) };
      });
    },

    stopDrill: (channel: string, id: string, by: Change): Promise<Outcome> =>
      change({ action: 'stop_drill', target: channelTarget(channel), details: { id } }, by, async (trx, version) => {
        const stopped = await stopDrill(trx, { id: uuid('drl', id), channel, version, ...by });
        if (!stopped) throw new ChangeRefused('no_such_thing', `${channel} has no drill ${id} running`);
        return {};
      }),

    /** Once, at once, on every process that is connected: an open breaker probes, or closes, without waiting. */
    nudge: (channel: string, action: Nudge['action'], by: Change): Promise<Outcome> =>
      change({ action, target: channelTarget(channel), details: {} }, by, async (trx, version) => {
        checkChannel(channel, ['pay']);
        await insertNudge(trx, { version, channel, action, author: by.author, reason: by.reason });
        return {};
      }),

    /** After a restore: tells every follower that what the database holds now counts, also where it is older. */
    declareRestored: (by: Change): Promise<Outcome> =>
      change({ action: 'declare_restored', target: 'control', details: {} }, by, async (trx) => ({
        generation: await raiseGeneration(trx),
      })),

    /** The version of a target (`channel:bank_a`, `limiter:merchant`, `control`) that a change must name. */
    versionOf: async (target: string): Promise<number> =>
      Number((await rows(targetVersionSql, [target]))[0]?.['version']),
    document: async (): Promise<unknown> => (await rows(documentSql, []))[0]?.['document'],
    instances: () => readInstances(knex),
    overrides: (channel: string | null, limit: number) => rows(overridesSql, [channel, channel, limit]),
    drills: (channel: string | null, limit: number) => rows(drillsSql, [channel, channel, limit]),
    rules: (target: string | null, limit: number) => rows(rulesSql, [target, target, limit]),
    audit: (target: string | null, limit: number) => rows(auditSql, [target, target, limit]),
    verifyAudit: (anchor?: string): Promise<AuditReport> => verifyAudit(knex, anchor),
    close: () => knex.destroy(),
  };
}

/** Until every connected process reports the version, or the second is over. */
async function waitApplied(knex: Knex, version: number): Promise<Pick<Outcome, 'applied' | 'lagging'>> {
  const until = performance.now() + APPLIED_WITHIN_MS;
  for (;;) {
    const instances = await readInstances(knex).catch(() => null); // the change is committed; who applied it is not known
    const hasApplied = (instance: InstanceReport) => instance.appliedVersion >= version && instance.problem === null;
    const lagging = instances?.filter((instance) => !hasApplied(instance)) ?? [];
    const awaited = instances === null || lagging.some((instance) => instance.silentMs < CONNECTED_MS);
    if (!awaited || performance.now() >= until) return { applied: instances?.filter(hasApplied) ?? [], lagging };
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function readInstances(knex: Knex): Promise<InstanceReport[]> {
  const { rows } = await knex.raw(instancesSql);
  return rows.map(
    (row: Omit<InstanceReport, 'appliedVersion' | 'silentMs'> & { applied_version: number; silent_ms: number }) => {
      const { applied_version, silent_ms, ...rest } = row;
      return { ...rest, appliedVersion: applied_version, silentMs: Math.round(silent_ms) };
    },
  );
}

function checkChannel(channel: string, operations: readonly string[]): void {
  checked(channelNameSchema, channel);
  if (operations.length === 0) throw new ChangeRefused('invalid', 'name at least one operation');
  for (const operation of operations) checked(operationSchema, operation);
}

function checkOverride(
  setting: OverrideSetting,
  operations: readonly ChannelOperation[],
  lastsMs: number,
  startsInMs: number,
): void {
  checked(overrideSettingSchema, setting);
  const forbidden = forbiddenCover(setting, operations);
  if (forbidden !== null) throw new ChangeRefused('never_blocked', forbidden);
  inRange('an override', lastsMs, LEAST_LASTS_MS, MOST_LASTS_MS);
  if (startsInMs !== 0 && setting.kind !== 'maintenance')
    throw new ChangeRefused('invalid', 'only a maintenance window may begin later');
  if (!(startsInMs >= 0 && startsInMs <= MOST_STARTS_IN_MS))
    throw new ChangeRefused('expiry', 'a maintenance window begins within 30 days');
}

function inRange(what: string, lastsMs: number, least: number, most: number): void {
  if (!(lastsMs >= least && lastsMs <= most))
    throw new ChangeRefused(
      'expiry',
      `${what} lasts ${least / 1_000} s to ${most / 3_600_000} h, asked for ${lastsMs} ms`,
    );
}

interface Schema {
  safeParse(value: unknown): {
    success: boolean;
    error?: { issues: readonly { path: readonly PropertyKey[]; message: string }[] } | undefined;
  };
}

function checked(schema: Schema, value: unknown): void {
  const issue = schema.safeParse(value).error?.issues[0];
  if (issue !== undefined) throw new ChangeRefused('invalid', `${issue.path.join('.') || 'value'}: ${issue.message}`);
}

function uuid(prefix: 'ovr' | 'drl', id: string): string {
  const found = uuidOf(prefix, id);
  if (found === undefined) throw new ChangeRefused('no_such_thing', `${id} is not an id of the form ${prefix}_<uuid>`);
  return found;
}
