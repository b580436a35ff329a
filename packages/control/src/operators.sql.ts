// Every statement about who may act.
import type { Knex } from '@ballast/database';
import { letInSql } from './reads.sql.ts';
import type { Role } from './who-may.ts';

/** Of those named, the ones that may act at all. Read under the head's lock, which every change of an operator takes too. */
export async function rolesOf(trx: Knex.Transaction, names: readonly string[]): Promise<ReadonlyMap<string, Role>> {
  const { rows } = await trx.raw('select name, role from operator where name = any(?::text[]) and not disabled', [
    [...names],
  ]);
  return new Map(rows.map(({ name, role }: { name: string; role: Role }) => [name, role]));
}

/**
 * Whether one person may hold both accounts: somebody (one of the two, or a third) has let both in, at first or at second hand.
 * A circle ends, because `union` drops what is there already.
 */
export async function mayBeOne(trx: Knex.Transaction, first: string, second: string): Promise<boolean> {
  const { rows } = await trx.raw(
    `with recursive let_in as (${letInSql}), holds (account, person) as (
       select name, name from operator where name in (:first, :second)
       union
       select h.account, l.author from holds h join let_in l on l.name = h.person
     )
     select exists (
       select from holds a join holds b on b.person = a.person where a.account = :first and b.account = :second
     ) as may_be_one`,
    { first, second },
  );
  return rows[0].may_be_one;
}

/**
 * A try is counted before the password is looked at, under the row's lock, so that a hundred at once are no way around the
 * limit. Undefined: there is no such operator, they are disabled, or have to wait.
 */
export async function beginSignIn(
  knex: Knex,
  name: string,
  limit: { readonly failures: number; readonly waitMs: number },
): Promise<{ password: string } | undefined> {
  const { rows } = await knex.raw(
    `update operator set failures = failures + 1,
       locked_until = case when failures + 1 >= ? then clock_timestamp() + ? * interval '1 ms' end
     where name = ? and not disabled and (locked_until is null or locked_until <= clock_timestamp())
     returning password`,
    [limit.failures, limit.waitMs, name],
  );
  return rows[0];
}

export async function endSignIn(knex: Knex, name: string): Promise<void> {
  await knex.raw('update operator set failures = 0, locked_until = null where name = ?', [name]);
}

export async function insertOperator(
  trx: Knex.Transaction,
  row: { readonly name: string; readonly role: Role; readonly password: string },
): Promise<boolean> {
  const { rowCount } = await trx.raw(
    'insert into operator (name, role, password) values (?, ?, ?) on conflict (name) do nothing',
    [row.name, row.role, row.password],
  );
  return rowCount === 1;
}

export interface OperatorChange {
  readonly role?: Role;
  readonly password?: string;
  readonly disabled?: boolean;
}

/** A new password also ends the wait for the old one. False: there is no such operator. */
export async function updateOperator(trx: Knex.Transaction, name: string, change: OperatorChange): Promise<boolean> {
  const { rowCount } = await trx.raw(
    `update operator set role = coalesce(:role, role), password = coalesce(:password, password),
       disabled = coalesce(:disabled, disabled),
       failures = case when cast(:password as text) is null then failures else 0 end,
       locked_until = case when cast(:password as text) is null then locked_until end
     where name = :name`,
    { name, role: change.role ?? null, password: change.password ?? null, disabled: change.disabled ?? null },
  );
  return rowCount === 1;
}

export async function countOperators(trx: Knex.Transaction): Promise<{ all: number; admins: number }> {
  const { rows } = await trx.raw(
    `select count(*)::int as all, count(*) filter (where role = 'admin' and not disabled)::int as admins from operator`,
  );
  return rows[0];
}
