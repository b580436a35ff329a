// The demo's operators: an admin and a second person, whose passwords lie beside the other secrets of the demo.
import { randomBytes } from 'node:crypto';
import type { Actor, ControlStore } from '@ballast/control';
import { CannotRun } from './cannot-run.ts';
import {
  type Credentials,
  credentialsSchema,
  type RunFile,
  readCredentials,
  readIfThere,
  writePrivate,
} from './run-file.ts';

const wanted = [
  { name: 'ann', role: 'admin' },
  { name: 'ben', role: 'operator' },
] as const;
const PASSWORD_BYTES = 18;

/** Repeatable. Every password is on disk before the control database hears of it. Resolves to the admin, signed in. */
export async function ensureDemoOperators(
  store: ControlStore,
  credentialsFile: string,
  adminToken: string,
): Promise<Actor> {
  const passwords = keepPasswords(credentialsFile, adminToken);
  const [admin, ...others] = wanted.map((one) => ({ ...one, password: passwords.get(one.name) ?? '' }));
  if (admin === undefined) throw new Error('BUG: the demo has an admin');
  const known = new Set((await store.operators()).map(({ name }) => name));
  if (known.size === 0) await store.addFirstAdmin(admin, 'the demo begins');
  const by = await store.signIn({ ...admin, purpose: 'npm start' }).catch((error: unknown) => {
    const file = credentialsFile;
    throw new CannotRun(`${file} does not fit the control database (${String(error)}). From nothing: npm run reset`);
  });
  for (const operator of others.filter(({ name }) => !known.has(name))) {
    const seen = await store.versionOf('operators');
    await store.addOperator(operator, { by, reason: 'the demo begins', seen });
  }
  return by;
}

function keepPasswords(file: string, adminToken: string): ReadonlyMap<string, string> {
  const text = readIfThere(file);
  const kept: Credentials =
    text === undefined
      ? { admin_token: adminToken, merchants: [], operators: [] }
      : credentialsSchema.parse(JSON.parse(text));
  const missing = wanted.filter(({ name }) => !kept.operators.some((one) => one.name === name));
  const operators = [
    ...kept.operators,
    ...missing.map(({ name }) => ({ name, password: randomBytes(PASSWORD_BYTES).toString('base64url') })),
  ];
  if (missing.length > 0) writePrivate(file, { ...kept, operators });
  return new Map(operators.map(({ name, password }) => [name, password]));
}

/** As the demo's admin. */
export async function signInToDemo(
  store: ControlStore,
  run: Pick<RunFile, 'credentials_file'>,
  purpose: string,
): Promise<Actor> {
  const [admin] = readCredentials(run).operators;
  if (admin === undefined) throw new CannotRun(`${run.credentials_file} names no operator`);
  return store.signIn({ ...admin, purpose });
}
