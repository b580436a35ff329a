// For those who change the control database: the command line now, the console later. Each change names its author, its
// reason and the version seen, is committed, and then waited for: the answer names the processes that have applied it
// and those that have not.
import { type Nudge, publicId, type RuleTarget } from '@ballast/contracts';
import { type Knex, openDatabase, withTransaction } from '@ballast/database';
import { type Applied, readInstances, waitApplied } from './applied.ts';
import { type AuditReport, verifyAudit } from './audit.ts';
import { type Asked, type Change, makeChange } from './change.ts';
import {
  checkChannel,
  checkDrill,
  checkOverride,
  checkRules,
  DEFAULT_LASTS_MS,
  type DrillRequest,
  type OverrideRequest,
  uuidIn,
} from './check-request.ts';
import {
  type AuditEntry,
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
import { auditSql, documentSql, drillsSql, overridesSql, rulesSql, targetVersionSql } from './reads.sql.ts';
import { openUnrecorded } from './unrecorded.ts';

export interface ControlStoreOptions {
  readonly url: string;
  /** Where tries are kept that the database was too far away to audit. */
  readonly stateDir?: string;
}

export interface Outcome extends Applied {
  readonly version: number;
  /** Of the override or drill that was made. */
  readonly id: string | null;
}

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
    const recordOne = (entry: AuditEntry) => withTransaction(knex, 'control audit', (trx) => insertAudit(trx, entry));
    await unrecorded.drain(recordOne).catch(() => undefined); // the change is made; what was kept waits for the next one
    const id = typeof made['id'] === 'string' ? made['id'] : null;
    return { version, id, ...(await waitApplied(knex, version)) };
  }

  function setOverride(asked: OverrideRequest, by: Change): Promise<Outcome> {
    const { author, reason } = by;
    const { channel, setting, lastsMs = DEFAULT_LASTS_MS, startsInMs = 0 } = asked;
    const request = { channel, operations: inOrder(asked.operations), setting, lastsMs, startsInMs };
    const { operations } = request;
    return change(
      { action: 'set_override', target: channelTarget(channel), details: request },
      by,
      async (trx, version) => {
        checkOverride(request);
        const giving =
          startsInMs > 0 ? [] : await giveWay(trx, { version, channel, operations, kind: setting.kind, author });
        const id = publicId('ovr', await insertOverride(trx, { ...request, version, author, reason }));
        return { id, replaced: giving.map((uuid) => publicId('ovr', uuid)) };
      },
    );
  }

  function endOneOverride(channel: string, id: string, by: Change): Promise<Outcome> {
    const asked = { action: 'end_override', target: channelTarget(channel), details: { id } };
    return change(asked, by, async (trx, version) => {
      const ended = await endOverride(trx, { id: uuidIn('ovr', id), channel, version, ...by });
      if (!ended) throw new ChangeRefused('no_such_thing', `${channel} has no override ${id} in force or scheduled`);
      return {};
    });
  }

  /** `rules` null: back to the built-in ones. */
  function putRules(target: RuleTarget, rules: unknown, by: Change): Promise<Outcome> {
    const { author, reason } = by;
    const name = ruleTargetName(target);
    const guarded = target.kind === 'limiter' ? name : channelTarget(target.channel);
    const asked = { action: 'put_rules', target: guarded, details: { rule_target: name, rules } };
    return change(asked, by, async (trx, version) => {
      checkRules(target, rules);
      await insertRules(trx, { version, target: name, rules, author, reason });
      return {};
    });
  }

  function startDrill(asked: DrillRequest, by: Change): Promise<Outcome> {
    const { author, reason } = by;
    const request = { ...asked, operations: inOrder(asked.operations) };
    const target = channelTarget(request.channel);
    return change({ action: 'start_drill', target, details: request }, by, async (trx, version) => {
      checkDrill(request);
      return { id: publicId('drl', await insertDrill(trx, { ...request, version, author, reason })) };
    });
  }

  function stopOneDrill(channel: string, id: string, by: Change): Promise<Outcome> {
    const asked = { action: 'stop_drill', target: channelTarget(channel), details: { id } };
    return change(asked, by, async (trx, version) => {
      const stopped = await stopDrill(trx, { id: uuidIn('drl', id), channel, version, ...by });
      if (!stopped) throw new ChangeRefused('no_such_thing', `${channel} has no drill ${id} running`);
      return {};
    });
  }

  /** Once, at once, on every process that is connected: an open breaker probes, or closes, without waiting. */
  function nudge(channel: string, action: Nudge['action'], by: Change): Promise<Outcome> {
    const { author, reason } = by;
    return change({ action, target: channelTarget(channel), details: {} }, by, async (trx, version) => {
      checkChannel(channel, ['pay']);
      await insertNudge(trx, { version, channel, action, author, reason });
      return {};
    });
  }

  /** After a restore: tells every follower that what the database holds now counts, also where it is older. */
  function declareRestored(by: Change): Promise<Outcome> {
    return change({ action: 'declare_restored', target: 'control', details: {} }, by, async (trx) => ({
      generation: await raiseGeneration(trx),
    }));
  }

  async function rows(sql: string, bindings: readonly (string | number | null)[]): Promise<readonly Row[]> {
    return (await knex.raw(sql, [...bindings] as Knex.RawBinding[])).rows;
  }

  return {
    setOverride,
    endOverride: endOneOverride,
    putRules,
    startDrill,
    stopDrill: stopOneDrill,
    nudge,
    declareRestored,
    /** The version of a target (`channel:bank_a`, `limiter:merchant`, `control`) that a change must name. */
    versionOf: async (target: string) => Number((await rows(targetVersionSql, [target]))[0]?.['version']),
    document: async () => (await rows(documentSql, []))[0]?.['document'],
    instances: () => readInstances(knex),
    overrides: (channel: string | null, limit: number) => rows(overridesSql, [channel, channel, limit]),
    drills: (channel: string | null, limit: number) => rows(drillsSql, [channel, channel, limit]),
    rules: (target: string | null, limit: number) => rows(rulesSql, [target, target, limit]),
    audit: (target: string | null, limit: number) => rows(auditSql, [target, target, limit]),
    verifyAudit: (anchor?: string): Promise<AuditReport> => verifyAudit(knex, anchor),
    close: () => knex.destroy(),
  };
}

type Row = Readonly<Record<string, unknown>>;

function inOrder<T extends string>(operations: readonly T[]): T[] {
  return [...new Set(operations)].sort();
}
