// The operators themselves: who they are, as what they may act, and the first of them, whom nobody can have let in.
import type { Knex } from '@ballast/database';
import { type Asked, type Change, type Signature, signatureOf } from './change.ts';
import { ChangeRefused } from './errors.ts';
import { countOperators, insertOperator, type OperatorChange, updateOperator } from './operators.sql.ts';
import { hashPassword } from './passwords.ts';
import { alone, permit } from './permit.ts';
import { type Role, roles } from './who-may.ts';

/** What a change of an operator is guarded by. */
export const OPERATORS = 'operators';
const NAME = /^[a-z0-9][a-z0-9._@-]{0,63}$/;
const SHORTEST_PASSWORD = 12;
const LONGEST_PASSWORD = 200;

export interface NewOperator {
  readonly name: string;
  readonly role: Role;
  readonly password: string;
}

type Work = (trx: Knex.Transaction) => Promise<Readonly<Record<string, unknown>>>;

/** `make`: as the store makes every change. */
export function createOperators<T>(make: (asked: Asked, by: Signature, work: Work) => Promise<T>) {
  return {
    /** Only where there is no operator yet: whoever set the database up begins. */
    addFirstAdmin: async ({ name, password }: Omit<NewOperator, 'role'>, reason: string) => {
      const asked = { action: 'add_first_admin', target: OPERATORS, details: { name } };
      const operator = await hashed({ name, role: 'admin', password });
      return make(asked, { author: name, reason, seen: 0 }, async (trx) => {
        checkOperator(operator, password);
        if ((await countOperators(trx)).all > 0)
          throw new ChangeRefused('not_allowed', 'there are operators already: one of their admins adds others');
        await insertOperator(trx, operator);
        return {};
      });
    },

    addOperator: async ({ name, role, password }: NewOperator, by: Change) => {
      const asked = { action: 'add_operator', target: OPERATORS, details: { name, role } };
      const operator = await hashed({ name, role, password });
      return make(asked, signatureOf(by), async (trx) => {
        await permit(trx, 'manage_operators', alone(by));
        checkOperator(operator, password);
        if (!(await insertOperator(trx, operator)))
          throw new ChangeRefused('invalid', `there is an operator ${name} already`);
        return {};
      });
    },

    /** Role, password, or whether they may act at all. Everybody may change their own password. */
    changeOperator: async (name: string, { password, ...to }: OperatorChange, by: Change) => {
      const isOwnPassword = name === by.by.name && password !== undefined && Object.keys(to).length === 0;
      const shown = password === undefined ? to : { ...to, password: 'changed' };
      const stored = password === undefined ? to : { ...to, password: await hashPassword(password) };
      const asked = { action: 'change_operator', target: OPERATORS, details: { name, ...shown } };
      return make(asked, signatureOf(by), async (trx) => {
        await permit(trx, isOwnPassword ? 'own_password' : 'manage_operators', alone(by));
        if (password !== undefined) checkPassword(password);
        if (to.role !== undefined) checkRole(to.role);
        if (!(await updateOperator(trx, name, stored)))
          throw new ChangeRefused('no_such_thing', `there is no operator ${name}`);
        if ((await countOperators(trx)).admins === 0)
          throw new ChangeRefused('invalid', `${name} is the last admin: nobody could manage operators any more`);
        return {};
      });
    },
  };
}

/** Before the transaction, so that it holds no lock for as long as a hash takes. */
async function hashed(operator: NewOperator): Promise<NewOperator> {
  return { ...operator, password: await hashPassword(operator.password) };
}

function checkOperator({ name, role }: NewOperator, password: string): void {
  if (!NAME.test(name))
    throw new ChangeRefused(
      'invalid',
      'a name is 1 to 64 of a-z, 0-9, . _ @ and -, and begins with one of the first two',
    );
  checkRole(role);
  checkPassword(password);
}

function checkRole(role: string): void {
  if (!roles.some((known) => known === role))
    throw new ChangeRefused('invalid', `a role is one of ${roles.join(', ')}`);
}

function checkPassword(password: string): void {
  if (password.length < SHORTEST_PASSWORD || password.length > LONGEST_PASSWORD)
    throw new ChangeRefused('invalid', `a password has ${SHORTEST_PASSWORD} to ${LONGEST_PASSWORD} characters`);
}
