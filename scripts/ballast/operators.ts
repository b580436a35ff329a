// `ballast operator …`: who may act, and as what. `ballast confirm`, `ballast proposal list`: what takes a second person.
import { type Role, roles } from '@ballast/control';
import { type ExitCode, exitCode, UsedWrongly } from '../system/command.ts';
import { type Operator, table, tellOutcome, wordAt } from './operator.ts';
import { readPassword } from './sign-in.ts';

const OPERATORS = 'operators';
const MOST_ROWS = 1_000;

export async function operators(operator: Operator): Promise<ExitCode> {
  const { store, words } = operator;
  const [action = 'list'] = words;
  if (action === 'list') {
    const columns = ['name', 'role', 'disabled', 'locked_until', 'created_at'];
    table(
      columns.map((column) => column.toUpperCase()),
      (await store.operators()).map((row) => columns.map((column) => row[column])),
    );
    return exitCode.done;
  }
  const name = wordAt(operator, 1, 'the operator');
  switch (action) {
    case 'first-admin': {
      const password = await newPassword(name);
      return tellOutcome(
        `${name} is the first admin`,
        await store.addFirstAdmin({ name, password }, reasonOf(operator)),
      );
    }
    case 'add': {
      const role = roleOf(operator);
      const change = await operator.change(OPERATORS);
      return tellOutcome(
        `${name} is ${role}`,
        await store.addOperator({ name, role, password: await newPassword(name) }, change),
      );
    }
    case 'role':
    case 'password':
    case 'disable':
    case 'enable': {
      const change = await operator.change(OPERATORS);
      return tellOutcome(
        `${name}: ${action}`,
        await store.changeOperator(name, await newOf(operator, action, name), change),
      );
    }
    default:
      throw new UsedWrongly(`operator: there is no "${action}"; see npx ballast help`);
  }
}

async function newOf(operator: Operator, action: 'role' | 'password' | 'disable' | 'enable', name: string) {
  switch (action) {
    case 'role':
      return { role: roleOf(operator) };
    case 'password':
      return { password: await newPassword(name) };
    case 'disable':
    case 'enable':
      return { disabled: action === 'disable' };
  }
}

function roleOf({ text }: Operator): Role {
  const role = roles.find((known) => known === text('role'));
  if (role === undefined) throw new UsedWrongly(`--role must be one of ${roles.join(', ')}`);
  return role;
}

function reasonOf({ text }: Operator): string {
  return text('reason') ?? '';
}

function newPassword(name: string): Promise<string> {
  const given = process.env['BALLAST_NEW_PASSWORD'];
  return given === undefined ? readPassword(`New password of ${name}: `) : Promise.resolve(given);
}

/** The second person's word. */
export async function confirm(operator: Operator): Promise<ExitCode> {
  const { store, words } = operator;
  const id = words[0];
  if (id === undefined) throw new UsedWrongly('Name the proposal (prp_…).');
  const found = (await store.proposals(null, MOST_ROWS)).find((row) => row['id'] === id);
  if (found === undefined) throw new UsedWrongly(`There is no proposal ${id}.`);
  const change = await operator.change(`channel:${String(found['channel'])}`);
  return tellOutcome(`${found['channel']}: ${id} of ${found['author']} confirmed`, await store.confirm(id, change));
}

export async function proposal({ store, words, number }: Operator): Promise<ExitCode> {
  if ((words[0] ?? 'list') !== 'list')
    throw new UsedWrongly(`proposal: there is no "${words[0]}"; see npx ballast help`);
  const columns = ['id', 'state', 'channel', 'request', 'author', 'reason', 'expires_at', 'confirmed_by'];
  table(
    columns.map((column) => column.toUpperCase()),
    (await store.proposals(words[1] ?? null, number('limit') ?? 20)).map((row) => columns.map((column) => row[column])),
  );
  return exitCode.done;
}
