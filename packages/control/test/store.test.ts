// What the control database takes, what it refuses, and that both are written down for good.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultRules } from '@ballast/resilience';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  ChangeRefused,
  type ControlStore,
  ControlUnavailable,
  type OverrideRequest,
  openControlStore,
  VersionConflict,
} from '../src/index.ts';
import { freshControl, freshDir, seeing } from './support/control.ts';

let control: Awaited<ReturnType<typeof freshControl>>;
let store: ControlStore;
let sql: pg.Client;

beforeAll(async () => {
  control = await freshControl('store');
  ({ store } = control);
  sql = new pg.Client(control.url);
  await sql.connect();
});
afterAll(async () => {
  await store.close();
  await sql.end();
  await control.drop();
});

const closePay: OverrideRequest = { channel: 'bank_a', operations: ['pay'], setting: { kind: 'forced_open' } };
const { version: _, ...rules } = defaultRules;

async function lastAudit(target: string) {
  const [entry] = await store.audit(target, 1);
  return entry as { outcome: string; author: string; reason: string; details: { error?: string } };
}

test('an override is stored with its reason, author and an expiry of thirty minutes by database time', async () => {
  const { version, id } = await store.setOverride(closePay, await seeing(store, 'bank_a', 'bank is down'));
  const [row] = await store.overrides('bank_a', 1);
  expect(row).toMatchObject({ id, version, kind: 'forced_open', reason: 'bank is down', state: 'active' });
  const { rows } = await sql.query('select extract(epoch from expires_at - starts_at)::int as s from override');
  expect(rows[0].s).toBe(1_800);
  expect(await lastAudit('channel:bank_a')).toMatchObject({ outcome: 'applied', reason: 'bank is down' });
});

test.each<[string, Partial<OverrideRequest>, ChangeRefused['code']]>([
  ['covers reversal', { operations: ['pay', 'reversal'] }, 'never_blocked'],
  ['covers inquiry', { operations: ['inquiry'] }, 'never_blocked'],
  ['drains reversal', { operations: ['reversal'], setting: { kind: 'drain' } }, 'never_blocked'],
  ['passes no inquiry', { operations: ['inquiry'], setting: { kind: 'percent_open', share: 0 } }, 'never_blocked'],
  ['maintains inquiry', { operations: ['inquiry'], setting: { kind: 'maintenance' } }, 'never_blocked'],
  ['starves reversal', { operations: ['reversal'], setting: { kind: 'limit', perSecond: 0.1 } }, 'never_blocked'],
  ['lasts over a day', { lastsMs: 86_400_001 }, 'expiry'],
  ['ends at once', { lastsMs: 0 }, 'expiry'],
  ['never ends', { lastsMs: Number.NaN }, 'expiry'],
  ['begins later', { startsInMs: 60_000 }, 'invalid'],
  ['passes 200 %', { setting: { kind: 'percent_open', share: 2 } }, 'invalid'],
  ['limits nothing', { setting: { kind: 'limit' } }, 'invalid'],
  ['covers nothing', { operations: [] }, 'invalid'],
  ['is on no channel', { channel: 'BANK A;--' }, 'invalid'],
])('an override that %s is refused, and the try is audited', async (_name, wrong, code) => {
  const request = { ...closePay, channel: 'bank_r', ...wrong };
  const refused = store.setOverride(request, await seeing(store, 'bank_r'));
  await expect(refused).rejects.toMatchObject({ name: 'ChangeRefused', code });
  const entry = await lastAudit(`channel:${request.channel}`);
  expect(entry).toMatchObject({ outcome: 'refused', author: 'ops@example.test' });
  expect(entry.details.error).not.toBe('');
});

test('a card number in a reason is refused, and the audit does not keep it', async () => {
  const change = await seeing(store, 'bank_n', 'disputes of 4242 4242 4242 4242');
  const refused = store.setOverride({ ...closePay, channel: 'bank_n' }, change);
  await expect(refused).rejects.toThrow('what looks like a card number');
  const reason = expect.stringContaining('left out');
  expect(await lastAudit('channel:bank_n')).toMatchObject({ outcome: 'refused', reason });
});

test('a change without its reason is refused and audited', async () => {
  const change = await seeing(store, 'bank_n', '  ');
  await expect(store.setOverride({ ...closePay, channel: 'bank_n' }, change)).rejects.toThrow(ChangeRefused);
  expect(await lastAudit('channel:bank_n')).toMatchObject({ outcome: 'refused' });
});

test('the database itself refuses a forced-open that covers a reversal', async () => {
  const insert = `insert into override (version, kind, channel, operations, setting, author, reason, starts_at, expires_at)
    values (99, 'forced_open', 'bank_a', '{reversal}', '{}', 'a', 'r', now(), now() + interval '1 minute')`;
  await expect(sql.query(insert)).rejects.toThrow(/override_never_blocks_reversal_or_inquiry/);
});

test('opposite flips at once: one wins, the other is told the version, both are audited', async () => {
  for (let round = 0; round < 20; round++) {
    const change = await seeing(store, 'bank_o');
    const both = await Promise.allSettled([
      store.setOverride({ ...closePay, channel: 'bank_o' }, change),
      store.setOverride({ ...closePay, channel: 'bank_o', setting: { kind: 'percent_open', share: 1 } }, change),
    ]);
    const won = both.filter((one) => one.status === 'fulfilled');
    const lost = both.filter((one) => one.status === 'rejected');
    expect([won.length, lost.length]).toEqual([1, 1]);
    expect(lost[0]?.reason).toBeInstanceOf(VersionConflict);
    expect(lost[0]?.reason.current).toBe(won[0]?.value.version);
    const active = (await store.overrides('bank_o', 10)).filter((row) => row['state'] === 'active');
    expect(active).toHaveLength(1);
    const outcomes = (await store.audit('channel:bank_o', 2)).map((entry) => entry['outcome']);
    expect(outcomes.sort()).toEqual(['applied', 'conflict']);
  }
});

test('a new gate takes over only the operations that it covers, and a limit goes beside it', async () => {
  const on = { channel: 'bank_w' };
  const first = await store.setOverride(
    { ...on, operations: ['pay', 'refund'], setting: { kind: 'forced_open' } },
    await seeing(store, 'bank_w'),
  );
  await store.setOverride(
    { ...on, operations: ['pay'], setting: { kind: 'limit', perSecond: 5 } },
    await seeing(store, 'bank_w'),
  );
  await store.setOverride(
    { ...on, operations: ['pay'], setting: { kind: 'percent_open', share: 0.5 } },
    await seeing(store, 'bank_w'),
  );
  const active = (await store.overrides('bank_w', 10)).filter((row) => row['state'] === 'active');
  expect(active.map((row) => [row['kind'], row['operations']])).toEqual([
    ['percent_open', ['pay']],
    ['limit', ['pay']],
    ['forced_open', ['refund']],
  ]);
  await store.endOverride('bank_w', first.id ?? '', await seeing(store, 'bank_w'));
  await expect(store.endOverride('bank_w', first.id ?? '', await seeing(store, 'bank_w'))).rejects.toMatchObject({
    code: 'no_such_thing',
  });
});

test('rules are put as new rows and never changed in place', async () => {
  const target = { kind: 'channel', channel: 'bank_p', operation: 'pay' } as const;
  const first = await store.putRules(target, rules, await seeing(store, 'bank_p'));
  await store.putRules(target, { ...rules, timeout: { mode: 'fixed', ms: 500 } }, await seeing(store, 'bank_p'));
  const kept = await store.rules('channel:bank_p:pay', 10);
  expect(kept).toHaveLength(2);
  expect(kept[1]).toMatchObject({ version: first.version, rules });
  const wrong = { ...rules, bulkhead: { maxInFlight: 0, maxWaiting: 0 } };
  await expect(store.putRules(target, wrong, await seeing(store, 'bank_p'))).rejects.toThrow(/bulkhead.maxInFlight/);
  for (const statement of ["update rule_set set reason = 'x'", 'delete from rule_set', 'truncate rule_set'])
    await expect(sql.query(statement)).rejects.toThrow(/append-only/);
});

test.each(['ballast_control_writer', 'ballast_control_service'])(
  '%s cannot change or remove audit rows',
  async (role) => {
    await sql.query(`set role ${role}`);
    try {
      for (const statement of ["update audit set reason = 'x'", 'delete from audit', 'truncate audit'])
        await expect(sql.query(statement)).rejects.toThrow(/permission denied/);
    } finally {
      await sql.query('reset role');
    }
    await expect(sql.query('delete from audit')).rejects.toThrow(/append-only/);
  },
);

test('fifty refused tries at once are all audited, and leave the chain whole', async () => {
  const before = await store.verifyAudit();
  const unexplained = { ...(await seeing(store, 'bank_a')), reason: '' };
  const tries = Array.from({ length: 50 }, () => store.setOverride(closePay, unexplained));
  const results = await Promise.allSettled(tries);
  expect(results.every((result) => result.status === 'rejected' && result.reason instanceof ChangeRefused)).toBe(true);
  const after = await store.verifyAudit();
  expect([after.broken, after.rows - before.rows]).toEqual([null, 50]);
});

test('the audit chain verifies, and each way of tampering with it is found', async () => {
  const whole = await store.verifyAudit();
  expect(whole.broken).toBeNull();
  expect(whole.rows).toBeGreaterThan(20);
  expect((await store.verifyAudit(whole.head)).broken).toBeNull();
  await sql.query('create table audit_before as table audit; create table head_before as table control_head');

  const tampering: [string, string][] = [
    ["update audit set reason = 'another' where seq = 3", 'row 3 was changed'],
    ["update audit set at = at + interval '1 microsecond' where seq = 4", 'row 4 was changed'],
    ['delete from audit where seq = 5', 'row 5 is missing'],
    [`delete from audit where seq = ${whole.rows}`, 'rows at its end are missing'],
    [
      // The last row removed and the head put back with it: only an anchor outside the database can tell.
      `with gone as (delete from audit where seq = ${whole.rows} returning previous)
       update control_head set audit_seq = ${whole.rows - 1}, audit_hash = (select previous from gone)`,
      'is not in the chain',
    ],
  ];
  for (const [statement, found] of tampering) {
    await sql.query('begin');
    await sql.query('alter table audit disable trigger user');
    await sql.query(statement);
    await sql.query('alter table audit enable trigger user');
    await sql.query('commit');
    expect((await store.verifyAudit(whole.head)).broken).toContain(found);
    await restoreAudit();
  }

  async function restoreAudit() {
    await sql.query('alter table audit disable trigger user');
    await sql.query('delete from audit');
    await sql.query('insert into audit select * from audit_before');
    await sql.query('update control_head set audit_seq = b.audit_seq, audit_hash = b.audit_hash from head_before b');
    await sql.query('alter table audit enable trigger user');
  }
}, 60_000);

test('what is tried while the database is away is kept on disk and audited when it is back', async () => {
  const stateDir = freshDir();
  const url = new URL(control.url);
  url.port = '1';
  const away = openControlStore({ url: url.href, stateDir });
  const tried = away.setOverride(closePay, await seeing(store, 'bank_a', 'while away'));
  await expect(tried).rejects.toBeInstanceOf(ControlUnavailable);
  await away.close();
  const file = join(stateDir, 'control-unrecorded.jsonl');
  expect(readFileSync(file, 'utf8')).toContain('while away');

  const back = openControlStore({ url: control.url, stateDir });
  await back.setOverride({ ...closePay, channel: 'bank_b' }, await seeing(back, 'bank_b'));
  expect(existsSync(file)).toBe(false);
  const failed = (await back.audit('channel:bank_a', 5)).find((entry) => entry['outcome'] === 'failed');
  expect(failed).toMatchObject({ author: 'ops@example.test', reason: 'while away' });
  await back.close();
});
