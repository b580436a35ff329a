// Who may act: signing in, roles, and what takes two people. Every "no" changes nothing and is in the audit.
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Actor, type ControlStore, type OverrideRequest, SignInRefused } from '../src/index.ts';
import { judge, type Need, roles, whoMay } from '../src/who-may.ts';
import { ADMIN, follow, freshControl, PASSWORD, seeing, signInAnother } from './support/control.ts';

let control: Awaited<ReturnType<typeof freshControl>>;
let store: ControlStore;
let sql: pg.Client;
let viewer: Actor;
let olga: Actor;
let otto: Actor;

beforeAll(async () => {
  control = await freshControl('operators');
  ({ store } = control);
  sql = new pg.Client(control.url);
  await sql.connect();
  viewer = await signInAnother(store, 'vera', 'viewer');
  olga = await signInAnother(store, 'olga', 'operator');
  otto = await signInAnother(store, 'otto', 'operator');
});
afterAll(async () => {
  await store.close();
  await sql.end();
  await control.drop();
});

const pay = (channel: string, setting: OverrideRequest['setting']): OverrideRequest => ({
  channel,
  operations: ['pay'],
  setting,
});
const change = (by: Actor | undefined, channel = 'bank_a') => seeing(store, channel, 'a test', by);
const guarded = async (by: Actor) => ({ by, reason: 'a test', seen: await store.versionOf('operators') });
const forceClosed = pay('bank_a', { kind: 'forced_closed' });
const lastAudit = async (target: string) => (await store.audit(target, 1))[0];
const active = async (channel: string) =>
  (await store.overrides(channel, 10)).filter((row) => row['state'] === 'active').map((row) => row['kind']);

test('the table: each role, with and without a second person and a broken glass', () => {
  const told = (need: Need) =>
    roles.map((role) =>
      [null, ...roles].map((second) =>
        [false, true].map((breakGlass) => judge(need, { role, second, breakGlass }).kind).join('/'),
      ),
    );
  for (const need of ['set_override', 'end_override', 'nudge', 'drill_coloured', 'stop_drill'] as const)
    expect([need, told(need).map((row) => new Set(row))]).toEqual([
      need,
      [new Set(['not_allowed/not_allowed']), new Set(['allowed/allowed']), new Set(['allowed/allowed'])],
    ]);
  for (const need of [
    'drill_all_traffic',
    'put_rules',
    'declare_restored',
    'let_go_of_history',
    'manage_operators',
  ] as const)
    expect([need, told(need).map((row) => new Set(row))]).toEqual([
      need,
      [new Set(['not_allowed/not_allowed']), new Set(['not_allowed/not_allowed']), new Set(['allowed/allowed'])],
    ]);
  const never = 'not_allowed/not_allowed';
  const alone = 'second_person/glass_broken';
  const both = 'allowed/allowed';
  const glassOnly = 'not_allowed/glass_broken';
  expect(told('overrule_breaker')).toEqual([
    [never, never, never, never],
    [glassOnly, glassOnly, glassOnly, glassOnly],
    [alone, alone, both, both],
  ]);
  expect(told('shut_last_channel')).toEqual([
    [never, never, never, never],
    [alone, alone, both, both],
    [alone, alone, both, both],
  ]);
  expect(Object.keys(whoMay)).toHaveLength(13); // a new one belongs above
});

test('a viewer changes nothing, by whatever door, and each try is audited', async () => {
  const by = await change(viewer);
  const fault = { kind: 'reset' } as const;
  const stopWhen = { minimumCalls: 1, failureRate: 1, slowestMs: null, breakerOpens: false };
  const drill = { channel: 'bank_a', operations: ['pay' as const], traffic: 'coloured' as const, share: 1, fault };
  const doors: Record<string, () => Promise<unknown>> = {
    setOverride: () => store.setOverride(pay('bank_a', { kind: 'drain' }), by),
    breakGlass: () => store.setOverride(forceClosed, { ...by, breakGlass: true }),
    proposeOverride: () => store.proposeOverride(forceClosed, by),
    endOverride: () => store.endOverride('bank_a', 'ovr_019a0000-0000-7000-8000-000000000001', by),
    putRules: () => store.putRules({ kind: 'channel', channel: 'bank_a', operation: 'pay' }, null, by),
    startDrill: () => store.startDrill({ ...drill, stopWhen, lastsMs: 60_000 }, by),
    stopDrill: () => store.stopDrill('bank_a', 'drl_019a0000-0000-7000-8000-000000000001', by),
    nudge: () => store.nudge('bank_a', 'close_now', by),
    declareRestored: async () => store.declareRestored({ ...by, seen: await store.versionOf('control') }),
    authorize: async () =>
      store.authorize({ action: 'retire_reader', target: 'journal readers', details: {} }, { ...by, seen: 0 }),
    addOperator: async () =>
      store.addOperator({ name: 'x', role: 'viewer', password: PASSWORD }, await guarded(viewer)),
    changeOperator: async () => store.changeOperator('olga', { role: 'admin' }, await guarded(viewer)),
  };
  const reads =
    /^(signIn|takesTwo|versionOf|document|instances|operators|overrides|proposals|drills|rules|audit|verifyAudit|close)$/;
  const others = Object.keys(store).filter((name) => !reads.test(name) && !(name in doors));
  expect(others).toEqual(['addFirstAdmin', 'confirm']); // tested below
  const before = await sql.query('select version from control_head');
  for (const [name, door] of Object.entries(doors)) {
    await expect(door(), name).rejects.toMatchObject({ name: 'ChangeRefused', code: 'not_allowed' });
    const [entry] = await store.audit(null, 1);
    expect([name, entry?.['outcome'], entry?.['author']]).toEqual([name, 'refused', 'vera']);
  }
  expect(await sql.query('select version from control_head')).toMatchObject({ rows: before.rows });
});

test('to only measure is to overrule the breaker too: nobody does it alone', async () => {
  const request = pay('bank_u', { kind: 'metrics_only' });
  expect(await store.takesTwo(request)).toBe(true);
  await expect(store.setOverride(request, await change(olga, 'bank_u'))).rejects.toMatchObject({ code: 'not_allowed' });
  const admin = (await change(undefined)).by;
  await expect(store.setOverride(request, await change(admin, 'bank_u'))).rejects.toMatchObject({
    code: 'second_person',
  });
  const { id } = await store.proposeOverride(request, await change(admin, 'bank_u'));
  await store.confirm(id ?? '', await change(otto, 'bank_u'));
  expect(await active('bank_u')).toEqual(['metrics_only']);
});

test('forced closed takes an admin and somebody else, who confirms it', async () => {
  const admin = await store.signIn({ name: ADMIN, password: PASSWORD, purpose: 'a test' });
  expect(await store.takesTwo(forceClosed)).toBe(true);
  await expect(store.setOverride(forceClosed, await change(admin))).rejects.toMatchObject({ code: 'second_person' });
  const { id } = await store.proposeOverride(forceClosed, await change(admin));
  expect(await active('bank_a')).toEqual([]);
  for (const [by, code] of [
    [admin, 'second_person'],
    [viewer, 'second_person'],
  ] as const)
    await expect(store.confirm(id ?? '', await change(by))).rejects.toMatchObject({ code });
  expect(await lastAudit('channel:bank_a')).toMatchObject({ outcome: 'refused', author: 'vera' });
  await store.confirm(id ?? '', await change(olga));
  expect((await store.overrides('bank_a', 1))[0]).toMatchObject({
    kind: 'forced_closed',
    author: ADMIN,
    confirmed_by: 'olga',
    break_glass: false,
    state: 'active',
  });
  expect((await lastAudit('channel:bank_a'))?.['details']).toMatchObject({ proposal: id, proposed_by: ADMIN });
  for (const gone of [id ?? '', 'prp_019a0000-0000-7000-8000-000000000001', 'anything'])
    await expect(store.confirm(gone, await change(otto))).rejects.toThrow();
  expect((await store.audit(null, 1))[0]).toMatchObject({ action: 'confirm_override', author: 'otto' });
});

test('a proposal is overtaken by any change of its channel, expires by database time, and needs its first person', async () => {
  const propose = async (channel: string) => {
    const request = pay(channel, { kind: 'forced_closed' });
    return (await store.proposeOverride(request, await change(undefined, channel))).id ?? '';
  };
  const overtaken = await propose('bank_m');
  await store.nudge('bank_m', 'probe_now', await change(olga, 'bank_m'));
  await expect(store.confirm(overtaken, await change(olga, 'bank_m'))).rejects.toThrow(/changed since/);

  const late = await propose('bank_m');
  expect((await store.proposals('bank_m', 1))[0]).toMatchObject({ id: late, state: 'waiting' });
  const { rows } = await sql.query(`select expires_at - created_at <= interval '15 minutes 1 s' as soon from proposal`);
  expect(rows.every(({ soon }) => soon)).toBe(true);
  await sql.query(`update proposal set created_at = created_at - interval '16 minutes',
    expires_at = expires_at - interval '16 minutes'`);
  await expect(store.confirm(late, await change(olga, 'bank_m'))).rejects.toThrow(/expired/);

  const left = await signInAnother(store, 'lea', 'admin');
  const request = pay('bank_m', { kind: 'forced_closed' });
  const { id } = await store.proposeOverride(request, await change(left, 'bank_m'));
  await store.changeOperator('lea', { disabled: true }, await guarded((await change(undefined)).by));
  await expect(store.confirm(id ?? '', await change(olga, 'bank_m'))).rejects.toThrow(/lea is no operator any more/);
  expect(await active('bank_m')).toEqual([]);
});

test('the glass is broken by an operator alone: in force at once, marked for every follower, and audited', async () => {
  const request = pay('bank_g', { kind: 'forced_closed' });
  await expect(store.setOverride(request, await change(olga, 'bank_g'))).rejects.toMatchObject({ code: 'not_allowed' });
  await store.setOverride(request, { ...(await change(olga, 'bank_g')), breakGlass: true });
  const document = (await store.document()) as { overrides: { channel: string; break_glass: boolean }[] };
  expect(document.overrides.find(({ channel }) => channel === 'bank_g')?.break_glass).toBe(true);
  expect((await lastAudit('channel:bank_g'))?.['details']).toMatchObject({ break_glass: true });
  // Where it takes nothing, nothing is broken.
  await store.setOverride(pay('bank_h', { kind: 'drain' }), { ...(await change(olga, 'bank_h')), breakGlass: true });
  expect((await store.overrides('bank_h', 1))[0]).toMatchObject({ break_glass: false });
});

test('the last healthy channel is shut by two people only, whatever the kind of gate', async () => {
  let healthy = ['bank_1', 'bank_2'];
  const follower = await follow(control.url, { healthyChannels: () => healthy });
  try {
    await store.setOverride(pay('bank_1', { kind: 'forced_open' }), await change(olga, 'bank_1'));
    for (const setting of [
      { kind: 'forced_open' },
      { kind: 'drain' },
      { kind: 'maintenance' },
      { kind: 'percent_open', share: 0 },
    ] as const) {
      const last = store.setOverride(pay('bank_2', setting), await change(olga, 'bank_2'));
      await expect(last, setting.kind).rejects.toMatchObject({ code: 'second_person' });
    }
    await store.setOverride(pay('bank_2', { kind: 'percent_open', share: 0.1 }), await change(olga, 'bank_2'));
    const { id } = await store.proposeOverride(pay('bank_2', { kind: 'drain' }), await change(olga, 'bank_2'));
    await store.confirm(id ?? '', await change(otto, 'bank_2'));
    expect(await active('bank_2')).toEqual(['drain']);
    // A channel whose breaker is open is no alternative.
    healthy = ['bank_3'];
    await expect
      .poll(async () => store.takesTwo(pay('bank_3', { kind: 'drain' })), { timeout: 20_000, interval: 50 })
      .toBe(true);
    healthy = ['bank_3', 'bank_4'];
    await expect
      .poll(async () => store.takesTwo(pay('bank_3', { kind: 'drain' })), { timeout: 20_000, interval: 50 })
      .toBe(false);
  } finally {
    await follower.close();
  }
});

test('a window that has not begun shuts the last healthy channel as well, where it overlaps what is asked for', async () => {
  const follower = await follow(control.url, { healthyChannels: () => ['bank_5', 'bank_6'] });
  const HOUR_MS = 3_600_000;
  const window = (channel: string, startsInMs: number) => ({
    ...pay(channel, { kind: 'maintenance' }),
    startsInMs,
    lastsMs: HOUR_MS,
  });
  try {
    await store.setOverride(window('bank_5', 2 * HOUR_MS), await change(olga, 'bank_5'));
    expect(await store.takesTwo(window('bank_6', 0))).toBe(false);
    expect(await store.takesTwo(window('bank_6', 3.5 * HOUR_MS))).toBe(false);
    expect(await store.takesTwo({ ...window('bank_6', 0), lastsMs: 2.5 * HOUR_MS })).toBe(true);
    const overlapping = store.setOverride(window('bank_6', 2.5 * HOUR_MS), await change(olga, 'bank_6'));
    await expect(overlapping).rejects.toMatchObject({ code: 'second_person' });
    const { id } = await store.proposeOverride(window('bank_6', 2 * HOUR_MS), await change(olga, 'bank_6'));
    await store.confirm(id ?? '', await change(otto, 'bank_6'));
    // Shut by two for an hour, it is not shut by one for longer.
    expect(await store.takesTwo({ ...window('bank_6', 2 * HOUR_MS), lastsMs: 20 * HOUR_MS })).toBe(true);
    for (const nonsense of [1e300, Number.NaN, -1])
      expect(await store.takesTwo({ ...window('bank_6', 0), lastsMs: nonsense })).toBe(false);
  } finally {
    await follower.close();
  }
});

test('the last healthy channel left a trickle is shut too, and a trickle elsewhere is no alternative', async () => {
  const follower = await follow(control.url, { healthyChannels: () => ['bank_7', 'bank_8'] });
  const trickles = [
    { kind: 'percent_open', share: 0.000001 },
    { kind: 'percent_open', share: 0.09 },
    { kind: 'limit', perSecond: 0.001 },
    { kind: 'limit', perSecond: 9 },
    { kind: 'limit', maxInFlight: 1 },
  ] as const;
  try {
    for (const setting of trickles) {
      const { id } = await store.setOverride(pay('bank_7', setting), await change(olga, 'bank_7'));
      expect([setting, await store.takesTwo(pay('bank_8', { kind: 'drain' }))]).toEqual([setting, true]);
      for (const other of trickles) expect([other, await store.takesTwo(pay('bank_8', other))]).toEqual([other, true]);
      const plenty = pay('bank_8', { kind: 'limit', perSecond: 10, maxInFlight: 5 });
      expect(await store.takesTwo(plenty)).toBe(false);
      await store.endOverride('bank_7', id ?? '', await change(olga, 'bank_7'));
    }
    await store.setOverride(
      pay('bank_7', { kind: 'limit', perSecond: 10, maxInFlight: 5 }),
      await change(olga, 'bank_7'),
    );
    await store.setOverride(pay('bank_7', { kind: 'percent_open', share: 0.1 }), await change(olga, 'bank_7'));
    expect(await store.takesTwo(pay('bank_8', { kind: 'drain' }))).toBe(false);
  } finally {
    await follower.close();
  }
});

test('a wrong password, a wrong name and a disabled operator are told the same, and audited without the password', async () => {
  const tries = [
    { name: 'olga', password: 'wrong wrong wrong' },
    { name: "nobody'; drop table operator;--\0", password: PASSWORD },
    { name: 'lea', password: PASSWORD },
    { name: 'olga', password: '' },
  ];
  for (const { name, password } of tries) {
    const refused = store.signIn({ name, password, purpose: 'channel close bank_a' });
    await expect(refused).rejects.toBeInstanceOf(SignInRefused);
    await expect(refused).rejects.toThrow(/wrong name or password, disabled/);
    const entry = await lastAudit('operators');
    expect(entry).toMatchObject({ outcome: 'refused', action: 'sign_in', author: name.replaceAll('\0', '') });
    expect(entry?.['details']).toEqual({ purpose: 'channel close bank_a' });
  }
  const { rows } = await sql.query('select audit::text || operator::text as text from audit, operator');
  expect(rows.some(({ text }) => text.includes(PASSWORD))).toBe(false);
});

test('five failures lock for a minute by database time, also a hundred at once; a new password ends it', async () => {
  await signInAnother(store, 'gus', 'operator');
  const guess = (password: string) => store.signIn({ name: 'gus', password, purpose: 'guessing' });
  const guesses = [...Array.from({ length: 30 }, (_, n) => `guess number ${n}`), PASSWORD];
  const results = await Promise.allSettled(guesses.map(guess));
  expect(results.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(1);
  await Promise.allSettled(Array.from({ length: 5 }, () => guess('wrong wrong wrong')));
  await expect(guess(PASSWORD)).rejects.toBeInstanceOf(SignInRefused);
  await sql.query(`update operator set locked_until = clock_timestamp() where name = 'gus'`);
  await guess(PASSWORD);
  await Promise.allSettled(Array.from({ length: 5 }, () => guess('wrong wrong wrong')));
  const by = await guarded((await change(undefined)).by);
  await store.changeOperator('gus', { password: 'another good password' }, by);
  await guess('another good password');
}, 60_000);

test('whoever was disabled or lowered meanwhile changes nothing more; the last admin stays', async () => {
  const former = await signInAnother(store, 'finn', 'admin');
  await store.changeOperator('finn', { role: 'viewer' }, await guarded(former));
  await expect(store.nudge('bank_a', 'probe_now', await change(former))).rejects.toMatchObject({ code: 'not_allowed' });
  const own = await guarded(former);
  await store.changeOperator('finn', { password: 'my own new password' }, own);
  await expect(store.changeOperator('olga', { password: 'not mine to change' }, await guarded(former))).rejects.toThrow(
    /manage_operators/,
  );
  const admin = (await change(undefined)).by;
  for (const to of [{ disabled: true }, { role: 'operator' }] as const)
    await expect(store.changeOperator(ADMIN, to, await guarded(admin))).rejects.toThrow(/the last admin/);
  const again = store.addFirstAdmin({ name: 'intruder', password: PASSWORD }, 'let me in');
  await expect(again).rejects.toMatchObject({ name: 'VersionConflict' });
  await expect(
    store.addOperator({ name: 'Bad Name', role: 'viewer', password: PASSWORD }, await guarded(admin)),
  ).rejects.toThrow(/a name is/);
  await expect(
    store.addOperator({ name: 'short', role: 'viewer', password: 'short' }, await guarded(admin)),
  ).rejects.toThrow(/12 to 200/);
});

test('nobody acts by writing a name down, and the services cannot read passwords', async () => {
  expect(() => store.setOverride(forceClosed, { by: { name: ADMIN }, reason: 'forged', seen: 0 })).toThrow(/BUG/);
  await sql.query('set role ballast_control_service');
  try {
    await expect(sql.query('select password from operator')).rejects.toThrow(/permission denied/);
  } finally {
    await sql.query('reset role');
  }
  const { rows } = await sql.query('select password from operator');
  for (const { password } of rows) expect(password).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  expect((await store.verifyAudit()).broken).toBeNull();
});

test.each(['forced_closed', 'metrics_only'])(
  'the tables themselves refuse %s of one person alone and unheard',
  async (kind) => {
    const insert = (more: string, values: string) =>
      sql.query(`insert into override (version, kind, channel, operations, setting, author, reason, starts_at, expires_at${more})
      values (99, '${kind}', 'bank_a', '{pay}', '{}', 'a', 'r', now(), now() + interval '1 minute'${values})`);
    await expect(insert('', '')).rejects.toThrow(/override_breaker_overruled_by_two/);
    await expect(insert(', confirmed_by', ", 'a'")).rejects.toThrow(/override_two_people/);
  },
);
