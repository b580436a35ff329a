// The second person is somebody else: nobody confirms their own wish through an account that they have just let in.
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Actor, ControlStore } from '../src/index.ts';
import { ADMIN, follow, freshControl, PASSWORD, seeing, signInAnother } from './support/control.ts';

vi.setConfig({ testTimeout: 30_000 });

let control: Awaited<ReturnType<typeof freshControl>>;
let store: ControlStore;
let sql: pg.Client;
let ada: Actor;

beforeAll(async () => {
  control = await freshControl('second_person');
  ({ store } = control);
  sql = new pg.Client(control.url);
  await sql.connect();
  ada = await signIn(ADMIN);
  for (const name of ['bob', 'cem', 'dora']) await signInAnother(store, name, 'admin');
});
afterAll(async () => {
  await store.close();
  await sql.end();
  await control.drop();
});

const signIn = (name: string) => store.signIn({ name, password: PASSWORD, purpose: 'a test' });
const guarded = async (by: Actor) => ({ by, reason: 'a test', seen: await store.versionOf('operators') });
const add = async (name: string, by: Actor) => {
  await store.addOperator({ name, role: 'admin', password: PASSWORD }, await guarded(by));
  return signIn(name);
};
const resetPassword = async (name: string, by: Actor) =>
  store.changeOperator(name, { password: PASSWORD }, await guarded(by));
/** Whether the second may confirm what the first has asked for. */
const confirms = async (first: Actor, second: Actor): Promise<string> => {
  const request = { channel: 'bank_a', operations: ['pay' as const], setting: { kind: 'forced_closed' as const } };
  const { id } = await store.proposeOverride(request, await seeing(store, 'bank_a', 'a test', first));
  return store.confirm(id ?? '', await seeing(store, 'bank_a', 'a test', second)).then(
    () => 'confirmed',
    ({ code }) => code,
  );
};
/** As if this much time had passed since everything that the audit holds. */
const later = (hours: number) =>
  sql.query(`begin; alter table audit disable trigger user; update audit set at = at - interval '${hours} hours';
    alter table audit enable trigger user; commit`);

test('whom the first admin adds while the database is set up confirms at once; an hour later nobody new does', async () => {
  const bob = await signIn('bob');
  expect(await confirms(ada, bob)).toBe('confirmed');
  await resetPassword('bob', ada); // that is no setting up
  expect(await confirms(ada, bob)).toBe('second_person');
  await later(25);
  expect(await confirms(ada, bob)).toBe('confirmed');
  const sock = await add('sock', ada);
  expect(await confirms(ada, sock)).toBe('second_person');
  const [entry] = await store.audit('channel:bank_a', 1);
  expect(entry).toMatchObject({ outcome: 'refused', action: 'confirm_override', author: 'sock' });
  expect(JSON.stringify(entry?.['details'])).toContain('within a day');
  expect(await confirms(sock, ada)).toBe('second_person'); // nor the other way round
  expect(await confirms(await signIn('bob'), sock)).toBe('confirmed'); // of somebody else's wish it is a second person
});

test('nor through a chain of accounts, nor by whoever holds both', async () => {
  await later(25);
  const [bob, cem, dora] = [await signIn('bob'), await signIn('cem'), await signIn('dora')];
  await resetPassword('bob', ada);
  const far = await add('far', bob);
  expect(await confirms(ada, far)).toBe('second_person');
  expect(await confirms(far, ada)).toBe('second_person');
  await resetPassword('cem', ada);
  expect(await confirms(bob, cem)).toBe('second_person');
  expect(await confirms(dora, cem)).toBe('confirmed');
  // Two who let the same third in are two people all the same.
  await resetPassword('far', dora);
  expect(await confirms(dora, bob)).toBe('confirmed');
  // In a circle it ends as well.
  await resetPassword('dora', cem);
  await resetPassword('cem', dora);
  expect(await confirms(dora, cem)).toBe('second_person');
});

test('one’s own new password, and somebody disabled, let nobody in', async () => {
  await later(25);
  const [bob, cem] = [await signIn('bob'), await signIn('cem')];
  await resetPassword('bob', bob);
  await store.changeOperator('sock', { disabled: true }, await guarded(cem));
  expect(await confirms(cem, bob)).toBe('confirmed');
  const follower = await follow(control.url);
  expect(follower.state().letIn).toEqual([]);
  await store.changeOperator('sock', { disabled: false }, await guarded(cem));
  expect(follower.state().letIn).toMatchObject([{ name: 'sock', author: 'cem' }]);
  await follower.close();
});
