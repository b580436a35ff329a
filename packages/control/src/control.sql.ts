// Every statement of those who change the control database. The head's row lock puts all changes in one order.
import type { Drill, Override } from '@ballast/contracts';
import type { Knex } from '@ballast/database';

export interface AuditEntry {
  readonly outcome: 'applied' | 'refused' | 'conflict' | 'failed';
  readonly action: string;
  readonly target: string;
  readonly author: string;
  readonly reason: string;
  readonly seen: number | null;
  readonly version: number | null;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Locks the head (row lock, until the transaction ends). The target's version is that of its last change, or 0. */
export async function lockHead(trx: Knex.Transaction, target: string): Promise<{ version: number; current: number }> {
  const head = await trx.raw('select version::float8 as version from control_head for update');
  // A statement of its own: its snapshot must be younger than the lock.
  const last = await trx.raw(
    // index: audit_target
    `select coalesce(max(version), 0)::float8 as version from audit where target = ? and version is not null`,
    [target],
  );
  return { version: head.rows[0].version, current: last.rows[0].version };
}

/** The change's version becomes the head's, and the followers are told when the transaction commits (trigger). */
export async function advanceHead(trx: Knex.Transaction, version: number): Promise<void> {
  await trx.raw('update control_head set version = ?', [version]);
}

/** Trigger audit_chain gives it its number, time and hash under the head's lock. */
export async function insertAudit(trx: Knex.Transaction, entry: AuditEntry): Promise<void> {
  await trx.raw(
    `insert into audit (outcome, action, target, author, reason, seen, version, details)
     values (?, ?, ?, ?, ?, ?, ?, ?::jsonb)`,
    [
      entry.outcome,
      entry.action,
      entry.target,
      entry.author,
      entry.reason,
      entry.seen,
      entry.version,
      JSON.stringify(entry.details),
    ],
  );
}

export async function raiseGeneration(trx: Knex.Transaction): Promise<number> {
  const { rows } = await trx.raw('update control_head set generation = generation + 1 returning generation');
  return rows[0].generation;
}

export async function insertRules(
  trx: Knex.Transaction,
  row: { version: number; target: string; rules: unknown; author: string; reason: string },
): Promise<void> {
  await trx.raw('insert into rule_set (version, target, rules, author, reason) values (?, ?, ?::jsonb, ?, ?)', [
    row.version,
    row.target,
    row.rules === null ? null : JSON.stringify(row.rules),
    row.author,
    row.reason,
  ]);
}

export interface NewOverride {
  readonly version: number;
  readonly channel: string;
  readonly operations: readonly string[];
  readonly setting: Override['setting'];
  readonly author: string;
  readonly reason: string;
  readonly confirmedBy: string | null;
  readonly breakGlass: boolean;
  /** From now, by the database's clock. */
  readonly startsInMs: number;
  readonly lastsMs: number;
}

export async function insertOverride(trx: Knex.Transaction, row: NewOverride): Promise<string> {
  const { kind, ...setting } = row.setting;
  const { rows } = await trx.raw(
    `with starting as (select clock_timestamp() + ? * interval '1 ms' as at)
     insert into override (version, kind, channel, operations, setting, author, reason, confirmed_by, break_glass,
       starts_at, expires_at)
     select ?, ?, ?, ?::text[], ?::jsonb, ?, ?, ?, ?, at, at + ? * interval '1 ms' from starting
     returning id`,
    [
      row.startsInMs,
      row.version,
      kind,
      row.channel,
      [...row.operations],
      JSON.stringify(setting),
      row.author,
      row.reason,
      row.confirmedBy,
      row.breakGlass,
      row.lastsMs,
    ],
  );
  return rows[0].id;
}

export async function insertProposal(
  trx: Knex.Transaction,
  row: { version: number; channel: string; request: unknown; author: string; reason: string; waitsMs: number },
): Promise<string> {
  const { rows } = await trx.raw(
    `insert into proposal (version, channel, request, author, reason, expires_at)
     values (?, ?, ?::jsonb, ?, ?, clock_timestamp() + ? * interval '1 ms') returning id`,
    [row.version, row.channel, JSON.stringify(row.request), row.author, row.reason, row.waitsMs],
  );
  return rows[0].id;
}

export interface Proposal {
  readonly channel: string;
  readonly request: unknown;
  readonly author: string;
  readonly reason: string;
}

/** No lock: what it says never changes. */
export async function findProposal(knex: Knex, id: string): Promise<Proposal | undefined> {
  const { rows } = await knex.raw('select channel, request, author, reason from proposal where id = ?::uuid', [id]);
  return rows[0];
}

/** `at`: the version of its channel now. False: it was confirmed or has expired, or the channel was changed since. */
export async function spendProposal(
  trx: Knex.Transaction,
  spend: { id: string; at: number; version: number; by: string },
): Promise<boolean> {
  const { rowCount } = await trx.raw(
    `update proposal set confirmed_version = ?, confirmed_by = ?
     where id = ?::uuid and version = ? and confirmed_version is null and expires_at > clock_timestamp()`,
    [spend.version, spend.by, spend.id, spend.at],
  );
  return rowCount === 1;
}

/**
 * What is in force on these operations gives way: it ends, or keeps the operations that the new one does not cover.
 * A gate gives way to a gate, a limit to a limit; what is only scheduled stays. Index: override_open.
 */
export async function giveWay(
  trx: Knex.Transaction,
  by: { version: number; channel: string; operations: readonly string[]; kind: string; author: string },
): Promise<string[]> {
  const { rows } = await trx.raw(
    `with covered as (
       select id, array(select unnest(operations) except select unnest(?::text[])) as rest from override
       where channel = ? and ended_version is null and operations && ?::text[] and (kind = 'limit') = ?
         and starts_at <= clock_timestamp() and expires_at > clock_timestamp()
     )
     update override o set
       operations = case when c.rest = '{}' then o.operations else c.rest end,
       ended_version = case when c.rest = '{}' then ?::bigint end,
       ended_at = case when c.rest = '{}' then clock_timestamp() end,
       ended_by = case when c.rest = '{}' then ? end,
       end_reason = case when c.rest = '{}' then 'replaced' end
     from covered c where o.id = c.id returning o.id`,
    [[...by.operations], by.channel, [...by.operations], by.kind === 'limit', by.version, by.author],
  );
  return rows.map((row: { id: string }) => row.id);
}

/** False: there is no such override in force or scheduled. */
export async function endOverride(
  trx: Knex.Transaction,
  end: { id: string; channel: string; version: number; author: string; reason: string },
): Promise<boolean> {
  const { rows } = await trx.raw(
    `update override set ended_version = ?, ended_at = clock_timestamp(), ended_by = ?, end_reason = ?
     where id = ?::uuid and channel = ? and ended_version is null and expires_at > clock_timestamp() returning id`,
    [end.version, end.author, end.reason, end.id, end.channel],
  );
  return rows.length === 1;
}

export interface NewDrill {
  readonly version: number;
  readonly channel: string;
  readonly operations: readonly string[];
  readonly traffic: Drill['traffic'];
  readonly share: number;
  readonly fault: Drill['fault'];
  readonly stopWhen: Drill['stop_when'];
  readonly author: string;
  readonly reason: string;
  readonly lastsMs: number;
}

export async function insertDrill(trx: Knex.Transaction, row: NewDrill): Promise<string> {
  const { rows } = await trx.raw(
    `with starting as (select clock_timestamp() as at)
     insert into drill (version, channel, operations, traffic, share, fault, stop_when, author, reason, started_at, ends_at)
     select ?, ?, ?::text[], ?, ?, ?::jsonb, ?::jsonb, ?, ?, at, at + ? * interval '1 ms' from starting
     returning id`,
    [
      row.version,
      row.channel,
      [...row.operations],
      row.traffic,
      row.share,
      JSON.stringify(row.fault),
      JSON.stringify(row.stopWhen),
      row.author,
      row.reason,
      row.lastsMs,
    ],
  );
  return rows[0].id;
}

/** False: there is no such drill running. */
export async function stopDrill(
  trx: Knex.Transaction,
  stop: { id: string; channel: string; version: number; author: string; reason: string },
): Promise<boolean> {
  const { rows } = await trx.raw(
    `update drill set stopped_version = ?, stopped_at = clock_timestamp(), stopped_by = ?, stop_reason = ?
     where id = ?::uuid and channel = ? and stopped_version is null and ends_at > clock_timestamp() returning id`,
    [stop.version, stop.author, stop.reason, stop.id, stop.channel],
  );
  return rows.length === 1;
}

export async function insertNudge(
  trx: Knex.Transaction,
  row: { version: number; channel: string; action: string; author: string; reason: string },
): Promise<void> {
  await trx.raw('insert into nudge (version, channel, action, author, reason) values (?, ?, ?, ?, ?)', [
    row.version,
    row.channel,
    row.action,
    row.author,
    row.reason,
  ]);
}
