// For those who change the control database: the command line now, the console later. Each change is signed by whoever has
// signed in, names its reason and the version seen, is permitted by who-may.ts, committed, and then waited for: the answer
// names the processes that have applied it and those that have not.
import { type Nudge, publicId, type RuleTarget, uuidOf } from '@ballast/contracts';
import { type Knex, openDatabase, withTransaction } from '@ballast/database';
import { type Applied, readInstances, waitApplied } from './applied.ts';
import { type AuditReport, verifyAudit } from './audit.ts';
import { type Asked, type Change, makeChange, type Signature, signatureOf } from './change.ts';
import {
  checkChannel,
  checkDrill,
  checkOverride,
  checkRules,
  DEFAULT_LASTS_MS,
  type DrillRequest,
  isPossible,
  type OverrideRequest,
  uuidIn,
} from './check-request.ts';
import {
  type AuditEntry,
  endOverride,
  findProposal,
  giveWay,
  insertAudit,
  insertDrill,
  insertNudge,
  insertOverride,
  insertProposal,
  insertRules,
  raiseGeneration,
  spendProposal,
  stopDrill,
} from './control.sql.ts';
import { ChangeRefused } from './errors.ts';
import { createOperators } from './operators.ts';
import { type Askers, alone, needOf, permit, permitToAsk, takesTwo } from './permit.ts';
import {
  auditSql,
  documentSql,
  drillsSql,
  operatorsSql,
  overridesSql,
  proposalsSql,
  rulesSql,
  targetVersionSql,
} from './reads.sql.ts';
import { type SignIn, signIn } from './sign-in.ts';
import { openUnrecorded } from './unrecorded.ts';

export interface ControlStoreOptions {
  readonly url: string;
  /** Where tries are kept that the database was too far away to audit. */
  readonly stateDir?: string;
}

export interface Outcome extends Applied {
  readonly version: number;
  /** Of the override, proposal or drill that was made. */
  readonly id: string | null;
}

export interface Authorization extends Asked {
  readonly action: 'retire_reader' | 'reinstate_reader' | 'new_source_generation';
}

const POOL_MAX = 4;
const LOCK_TIMEOUT_MS = 2_000;
/** A second person is found within this, or the first asks again. */
const PROPOSAL_WAITS_MS = 15 * 60_000;

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

  async function make(asked: Asked, signature: Signature, work: Work): Promise<Outcome> {
    const { version, made } = await makeChange(knex, unrecorded, asked, signature, work);
    const recordOne = (entry: AuditEntry) => withTransaction(knex, 'control audit', (trx) => insertAudit(trx, entry));
    await unrecorded.drain(recordOne).catch(() => undefined); // the change is made; what was kept waits for the next one
    const id = typeof made['id'] === 'string' ? made['id'] : null;
    return { version, id, ...(await waitApplied(knex, version)) };
  }

  function change(asked: Asked, by: Change, work: Work): Promise<Outcome> {
    return make(asked, signatureOf(by), work);
  }

  function setOverride(asked: OverrideRequest, by: Change): Promise<Outcome> {
    const request = wholeOf(asked);
    const target = channelTarget(request.channel);
    return change({ action: 'set_override', target, details: request }, by, (trx, version) =>
      putOverride(trx, { request, version, reason: by.reason, askers: alone(by) }),
    );
  }

  /** What takes two people is asked for by the first, and set when another confirms it within a quarter of an hour. */
  function proposeOverride(asked: OverrideRequest, by: Change): Promise<Outcome> {
    const request = wholeOf(asked);
    const { channel } = request;
    const { reason } = by;
    const details = { action: 'propose_override', target: channelTarget(channel), details: request };
    return change(details, by, async (trx, version) => {
      checkOverride(request);
      const need = await needOf(trx, request);
      if (!takesTwo(need)) throw new ChangeRefused('invalid', 'it takes one person: set it');
      await permitToAsk(trx, need, by.by.name);
      const waitsMs = PROPOSAL_WAITS_MS;
      const row = { version, channel, request, author: by.by.name, reason, waitsMs };
      return { id: publicId('prp', await insertProposal(trx, row)) };
    });
  }

  /** By somebody else. The override then begins to count, under the first person's name and reason. */
  async function confirm(id: string, by: Change): Promise<Outcome> {
    const uuid = uuidOf('prp', id);
    const proposal = uuid === undefined ? undefined : await findProposal(knex, uuid);
    const target = proposal === undefined ? 'control' : channelTarget(proposal.channel);
    return change({ action: 'confirm_override', target, details: { proposal: id } }, by, async (trx, version) => {
      if (proposal === undefined || uuid === undefined)
        throw new ChangeRefused('no_such_thing', `there is no proposal ${id}`);
      const { author, reason } = proposal;
      if (author === by.by.name)
        throw new ChangeRefused('second_person', `${author} asked for it: somebody else has to confirm it`);
      if (!(await spendProposal(trx, { id: uuid, at: by.seen, version, by: by.by.name })))
        throw new ChangeRefused(
          'no_such_thing',
          `${id} is spent, expired, or its channel was changed since: ask again`,
        );
      const request = proposal.request as Required<OverrideRequest>; // judged when it was asked for, and again now
      const askers = { first: author, second: by.by.name, breakGlass: false };
      return { proposed_by: author, ...(await putOverride(trx, { request, version, reason, askers })) };
    });
  }

  function endOneOverride(channel: string, id: string, by: Change): Promise<Outcome> {
    const asked = { action: 'end_override', target: channelTarget(channel), details: { id } };
    return change(asked, by, async (trx, version) => {
      await permit(trx, 'end_override', alone(by));
      const signature = signatureOf(by);
      const ended = await endOverride(trx, { id: uuidIn('ovr', id), channel, version, ...signature });
      if (!ended) throw new ChangeRefused('no_such_thing', `${channel} has no override ${id} in force or scheduled`);
      return {};
    });
  }

  /** `rules` null: back to the built-in ones. */
  function putRules(target: RuleTarget, rules: unknown, by: Change): Promise<Outcome> {
    const name = ruleTargetName(target);
    const guarded = target.kind === 'limiter' ? name : channelTarget(target.channel);
    const asked = { action: 'put_rules', target: guarded, details: { rule_target: name, rules } };
    return change(asked, by, async (trx, version) => {
      await permit(trx, 'put_rules', alone(by));
      checkRules(target, rules);
      await insertRules(trx, { ...signatureOf(by), version, target: name, rules });
      return {};
    });
  }

  function startDrill(asked: DrillRequest, by: Change): Promise<Outcome> {
    const request = { ...asked, operations: inOrder(asked.operations) };
    const target = channelTarget(request.channel);
    return change({ action: 'start_drill', target, details: request }, by, async (trx, version) => {
      await permit(trx, request.traffic === 'coloured' ? 'drill_coloured' : 'drill_all_traffic', alone(by));
      checkDrill(request);
      return { id: publicId('drl', await insertDrill(trx, { ...request, ...signatureOf(by), version })) };
    });
  }

  function stopOneDrill(channel: string, id: string, by: Change): Promise<Outcome> {
    const asked = { action: 'stop_drill', target: channelTarget(channel), details: { id } };
    return change(asked, by, async (trx, version) => {
      await permit(trx, 'stop_drill', alone(by));
      const stopped = await stopDrill(trx, { id: uuidIn('drl', id), channel, version, ...signatureOf(by) });
      if (!stopped) throw new ChangeRefused('no_such_thing', `${channel} has no drill ${id} running`);
      return {};
    });
  }

  /** Once, at once, on every process that is connected: an open breaker probes, or closes, without waiting. */
  function nudge(channel: string, action: Nudge['action'], by: Change): Promise<Outcome> {
    return change({ action, target: channelTarget(channel), details: {} }, by, async (trx, version) => {
      await permit(trx, 'nudge', alone(by));
      checkChannel(channel, ['pay']);
      await insertNudge(trx, { ...signatureOf(by), version, channel, action });
      return {};
    });
  }

  /** After a restore: tells every follower that what the database holds now counts, also where it is older. */
  function declareRestored(by: Change): Promise<Outcome> {
    return change({ action: 'declare_restored', target: 'control', details: {} }, by, async (trx) => {
      await permit(trx, 'declare_restored', alone(by));
      return { generation: await raiseGeneration(trx) };
    });
  }

  /** For what is done in another database, by whoever signs here: permitted and written down before it is done. */
  function authorize(asked: Authorization, by: Change): Promise<Outcome> {
    return change(asked, by, async (trx) => {
      await permit(trx, 'let_go_of_history', alone(by));
      return {};
    });
  }

  async function rows(sql: string, bindings: readonly (string | number | null)[]): Promise<readonly Row[]> {
    return (await knex.raw(sql, [...bindings] as Knex.RawBinding[])).rows;
  }

  return {
    signIn: (asked: SignIn) => signIn(knex, unrecorded, asked),
    ...createOperators(make),
    setOverride,
    proposeOverride,
    confirm,
    endOverride: endOneOverride,
    putRules,
    startDrill,
    stopDrill: stopOneDrill,
    nudge,
    declareRestored,
    authorize,
    /** Whether this override takes two people, as things are now. What cannot be set at all takes nobody. */
    takesTwo: async (asked: OverrideRequest) => {
      const request = wholeOf(asked);
      return isPossible(request) && takesTwo(await needOf(knex, request));
    },
    /** The version of a target (`channel:bank_a`, `limiter:merchant`, `operators`, `control`) that a change must name. */
    versionOf: async (target: string) => Number((await rows(targetVersionSql, [target]))[0]?.['version']),
    document: async () => (await rows(documentSql, []))[0]?.['document'],
    instances: () => readInstances(knex),
    operators: () => rows(operatorsSql, []),
    overrides: (channel: string | null, limit: number) => rows(overridesSql, [channel, channel, limit]),
    proposals: (channel: string | null, limit: number) => rows(proposalsSql, [channel, channel, limit]),
    drills: (channel: string | null, limit: number) => rows(drillsSql, [channel, channel, limit]),
    rules: (target: string | null, limit: number) => rows(rulesSql, [target, target, limit]),
    audit: (target: string | null, limit: number) => rows(auditSql, [target, target, limit]),
    verifyAudit: (anchor?: string): Promise<AuditReport> => verifyAudit(knex, anchor),
    close: () => knex.destroy(),
  };
}

type Row = Readonly<Record<string, unknown>>;
type Work = (trx: Knex.Transaction, version: number) => Promise<Readonly<Record<string, unknown>>>;

/** Judged, permitted, and written; what was in force there gives way. */
async function putOverride(
  trx: Knex.Transaction,
  put: {
    readonly request: Required<OverrideRequest>;
    readonly version: number;
    readonly reason: string;
    readonly askers: Askers;
  },
): Promise<Readonly<Record<string, unknown>>> {
  const { request, version, reason, askers } = put;
  checkOverride(request);
  const breakGlass = await permit(trx, await needOf(trx, request), askers);
  const { channel, operations, setting, startsInMs } = request;
  const author = askers.first;
  const giving = startsInMs > 0 ? [] : await giveWay(trx, { version, channel, operations, kind: setting.kind, author });
  const row = { ...request, version, author, reason, confirmedBy: askers.second, breakGlass };
  return {
    id: publicId('ovr', await insertOverride(trx, row)),
    replaced: giving.map((uuid) => publicId('ovr', uuid)),
    ...(breakGlass ? { break_glass: true } : {}),
  };
}

function wholeOf({ channel, operations, setting, ...when }: OverrideRequest): Required<OverrideRequest> {
  const { lastsMs = DEFAULT_LASTS_MS, startsInMs = 0 } = when;
  return { channel, operations: inOrder(operations), setting, lastsMs, startsInMs };
}

function inOrder<T extends string>(operations: readonly T[]): T[] {
  return [...new Set(operations)].sort();
}
