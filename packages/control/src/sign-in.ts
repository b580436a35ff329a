// Signing in. Who fails five times waits a minute, by the database's clock; each failure is audited, and says no more to
// whoever fails than that it did.
import type { Knex } from '@ballast/database';
import { type Actor, admit } from './actor.ts';
import { record, storable } from './change.ts';
import { ControlUnavailable, SignInRefused } from './errors.ts';
import { beginSignIn, endSignIn } from './operators.sql.ts';
import { OPERATORS } from './operators.ts';
import { isPassword } from './passwords.ts';
import type { Unrecorded } from './unrecorded.ts';

const LIMIT = { failures: 5, waitMs: 60_000 };
const LONGEST_NAME = 64;
const LONGEST_PURPOSE = 200;

export interface SignIn {
  readonly name: string;
  readonly password: string;
  /** What they are about to do: in the audit, if they do not get that far. */
  readonly purpose: string;
}

/** Rejects with SignInRefused or ControlUnavailable. */
export async function signIn(knex: Knex, unrecorded: Unrecorded, { name, password, purpose }: SignIn): Promise<Actor> {
  const failed = (outcome: 'refused' | 'failed') =>
    record(knex, unrecorded, {
      outcome,
      action: 'sign_in',
      target: OPERATORS,
      author: storable(name, LONGEST_NAME),
      reason: 'signing in',
      seen: null,
      version: null,
      details: { purpose: storable(purpose, LONGEST_PURPOSE) },
    });
  const known = await beginSignIn(knex, storable(name, LONGEST_NAME), LIMIT).catch(async (error: unknown) => {
    await failed('failed');
    throw new ControlUnavailable(false, error);
  });
  // The password is hashed also where there is nobody: the clock must not tell who exists.
  if (!(await isPassword(password, known?.password))) {
    await failed('refused');
    throw new SignInRefused(
      `${name} could not sign in: wrong name or password, disabled, or too many failures (then it works again in a minute)`,
    );
  }
  await endSignIn(knex, name);
  return admit(name);
}
