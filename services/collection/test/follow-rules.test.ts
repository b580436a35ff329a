// What an operator sets reaches this process's channels: gates, limits, rules, shadow rules, drills, nudges.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { channelsFileSchema } from '@ballast/channels';
import {
  type Actor,
  type Change,
  type ControlFollower,
  channelTarget,
  migrateControl,
  openControlStore,
} from '@ballast/control';
import { migrate, openDatabase } from '@ballast/database';
import { freshDatabase, waitFor } from '@ballast/database/testing';
import { defaultRules } from '@ballast/resilience';
import { type Alarm, createLogger } from '@ballast/telemetry';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { followRules } from '../src/channels/follow-rules.ts';
import { openChannels, type PolicyListener } from '../src/channels/open-channels.ts';
import { openWayIn } from '../src/http/way-in.ts';
import { createCollectionMetrics } from '../src/metrics.ts';

const entries = channelsFileSchema.parse(
  ['bank_a', 'bank_b'].map((name) => ({ name, url: 'http://127.0.0.1:1', livemode: false, horizon_ms: 1_000 })),
);
const logger = createLogger({ service: 'test', level: 'silent' });
const { version: _, ...rules } = defaultRules;

const orders = await freshDatabase('follow_rules_orders');
const control = await freshDatabase('follow_rules_control');
const knex = openDatabase({ url: orders.url, applicationName: 'test', poolMax: 4 });
const store = openControlStore({ url: control.url });
const listeners: PolicyListener[] = [];
const raised: Alarm[] = [];
const alarms = { raise: (alarm: Alarm) => void raised.push(alarm) };
const collectionMetrics = createCollectionMetrics(alarms);
const channels = openChannels({ entries, logger, alarms, metrics: collectionMetrics, listeners });
const wayIn = openWayIn(logger, collectionMetrics, { add: (opened: unknown) => opened as never });
const bankA = channels.get('bank_a')?.policies ?? undefined;
const bankB = channels.get('bank_b')?.policies ?? undefined;
if (bankA === undefined || bankB === undefined) throw new Error('both channels were opened');
let follower: ControlFollower;
let by: Actor;
const directory = mkdtempSync(join(tmpdir(), 'ballast-follow-rules-'));

beforeAll(async () => {
  await migrateControl(control.url);
  await store.addFirstAdmin({ name: 'ops', password: 'correct horse battery' }, 'a test');
  by = await store.signIn({ name: 'ops', password: 'correct horse battery', purpose: 'a test' });
  await migrate(knex, new URL('../migrations/', import.meta.url));
});
beforeEach(async () => {
  follower = await start(control.url);
});
afterEach(() => follower.close());
afterAll(async () => {
  for (const channel of channels.values()) await channel.close();
  await store.close();
  await knex.destroy();
  await orders.drop();
  await control.drop();
  rmSync(directory, { recursive: true, force: true });
});

function start(url: string | undefined, metrics = createCollectionMetrics(alarms)): Promise<ControlFollower> {
  const stateDir = mkdtempSync(join(directory, 'state-'));
  return followRules({
    url,
    instance: 'collection-1',
    stateDir,
    knex,
    channels,
    entries,
    listeners,
    wayIn,
    logger,
    metrics,
  });
}

async function seeing(channel = 'bank_a'): Promise<Change> {
  return { by, reason: 'a test', seen: await store.versionOf(channelTarget(channel)) };
}
const ok = async () => ({ kind: 'success', value: 'sent' }) as const;
const soon = () => performance.now() + 1_000;

test('a forced-open channel takes no payment, knows who decided it and tells no caller, and lets inquiries and reversals pass', async () => {
  const setting = { kind: 'forced_open' } as const;
  const request = { channel: 'bank_a', operations: ['pay' as const], setting };
  const { id, applied } = await store.setOverride(request, { ...(await seeing()), reason: 'they asked for it' });
  expect(applied.map(({ name }) => name)).toEqual(['collection-1']);
  const refused = await bankA.pay.run(ok, { deadline: soon() });
  expect(refused).toMatchObject({ kind: 'refused', refusal: { rule: 'gate' } });
  expect(JSON.stringify(bankA.pay.snapshot().gate)).toContain('they asked for it');
  expect(JSON.stringify(refused)).not.toContain('they asked for it');
  for (const policy of [bankA.inquiry, bankA.reversal, bankB.pay])
    expect(await policy.run(ok, { deadline: soon() })).toMatchObject({ kind: 'answered' });
  await store.endOverride('bank_a', id ?? '', await seeing());
  expect(await bankA.pay.run(ok, { deadline: soon() })).toMatchObject({ kind: 'answered' });
});

test('each kind of override becomes its gate, and its end brings the automatic one back', async () => {
  const kinds = [
    [{ kind: 'percent_open', share: 0.25 }, 'percent_open'],
    [{ kind: 'drain' }, 'draining'],
    [{ kind: 'forced_closed' }, 'forced_closed'],
    [{ kind: 'metrics_only' }, 'metrics_only'],
    [{ kind: 'maintenance' }, 'forced_open'],
  ] as const;
  for (const [setting, mode] of kinds) {
    const breakGlass = setting.kind === 'forced_closed' || setting.kind === 'metrics_only';
    const change = { ...(await seeing()), breakGlass };
    await store.setOverride({ channel: 'bank_a', operations: ['pay'], setting, lastsMs: 1_000 }, change);
    expect(bankA.pay.snapshot().gate.mode).toBe(mode);
  }
  await waitFor('the last one ends', () => bankA.pay.snapshot().gate.mode === 'automatic');
});

test('a limit is the whole cluster’s, in leased shares; calls at once are each instance’s', async () => {
  const setting = { kind: 'limit', perSecond: 10, maxInFlight: 7 } as const;
  const { version, id } = await store.setOverride({ channel: 'bank_a', operations: ['pay'], setting }, await seeing());
  await waitFor('the share', () => bankA.pay.snapshot().share === 1);
  expect(bankA.pay.snapshot()).toMatchObject({ maxInFlight: 7, rulesVersion: version });
  const results = await Promise.all(Array.from({ length: 20 }, () => bankA.pay.run(ok, { deadline: soon() })));
  const refused = results.filter((result) => result.kind === 'refused' && result.refusal.rule === 'rate');
  expect(refused.length).toBeGreaterThanOrEqual(15);
  await store.endOverride('bank_a', id ?? '', await seeing());
  expect(bankA.pay.snapshot()).toMatchObject({ maxInFlight: 256, share: 1 });
});

test('an operator’s limit never allows more than the rules do', async () => {
  const target = { kind: 'channel', channel: 'bank_a', operation: 'pay' } as const;
  const tight = {
    ...rules,
    bulkhead: { maxInFlight: 9, maxWaiting: 3 },
    rate: {
      ...rules.rate,
      mode: 'enforce',
      scope: 'cluster',
      limit: { algorithm: 'token_bucket', perSecond: 5, burst: 1 },
    },
  } as const;
  await store.putRules(target, tight, await seeing());
  const setting = { kind: 'limit', perSecond: 1_000, maxInFlight: 200 } as const;
  const { version, id } = await store.setOverride({ channel: 'bank_a', operations: ['pay'], setting }, await seeing());
  await waitFor('the share', () => bankA.pay.snapshot().share === 1);
  expect(bankA.pay.snapshot()).toMatchObject({ maxInFlight: 9, rulesVersion: version });
  const results = await Promise.all(
    Array.from({ length: 20 }, () => bankA.pay.run(ok, { deadline: performance.now() + 200 })),
  );
  expect(results.filter((result) => result.kind === 'answered').length).toBeLessThan(5);
  await store.endOverride('bank_a', id ?? '', await seeing());
  await store.putRules(target, null, await seeing());
});

test('rules and shadow rules are applied with their version, and null brings the built-in ones back', async () => {
  const changed = { ...rules, bulkhead: { maxInFlight: 9, maxWaiting: 3 }, timeout: { mode: 'fixed', ms: 777 } };
  const target = { kind: 'channel', channel: 'bank_a', operation: 'pay' } as const;
  const put = await store.putRules(target, changed, await seeing());
  expect(bankA.pay.snapshot()).toMatchObject({ maxInFlight: 9, timeoutMs: 777, rulesVersion: put.version });
  const shadow = await store.putRules({ ...target, kind: 'shadow' }, changed, await seeing());
  expect(bankA.pay.snapshot().shadow).toMatchObject({ rulesVersion: shadow.version });
  await store.putRules({ ...target, kind: 'shadow' }, null, await seeing());
  await store.putRules(target, null, await seeing());
  expect(bankA.pay.snapshot()).toMatchObject({ shadow: null, timeoutMs: entries[0]?.timeout_ms, rulesVersion: 0 });
});

test('a drill runs on the coloured calls of its channel, trips, and is over on every side, with its report', async () => {
  const request = {
    channel: 'bank_a',
    operations: ['pay' as const],
    traffic: 'coloured' as const,
    share: 1,
    fault: { kind: 'reset' as const },
    stopWhen: { minimumCalls: 5, failureRate: 0.5, slowestMs: null, breakerOpens: false },
    lastsMs: 60_000,
  };
  const { id } = await store.startDrill(request, await seeing());
  expect(bankA.pay.snapshot().drill).toMatchObject({ id, fault: { kind: 'reset' } });
  const failing = async ({ fault }: { fault: unknown }) =>
    ({ kind: fault === null ? 'success' : 'technical', value: null }) as const;
  for (let call = 0; call < 5; call++) await bankA.pay.run(failing, { deadline: soon(), coloured: true });
  expect(bankA.pay.snapshot().drill).toBeNull();
  const tripped = async () => (await store.drills('bank_a', 1))[0]?.['state'] === 'tripped';
  await waitFor('the control database knows', tripped);
  const [drill] = await store.drills('bank_a', 1);
  expect(drill?.['reports']).toMatchObject([{ instance: 'collection-1', why: '5 of 5 calls failed' }]);
  expect(bankA.pay.snapshot().drill).toBeNull();
});

test('an open breaker closes at once when it is nudged, once', async () => {
  const broken = async () => ({ kind: 'technical', value: null }) as const;
  for (let call = 0; call < 40; call++) await bankB.pay.run(broken, { deadline: soon() });
  await waitFor('it opens', () => bankB.pay.snapshot().state === 'open');
  await store.nudge('bank_b', 'close_now', await seeing('bank_b'));
  expect(bankB.pay.snapshot().state).toBe('recovering'); // closed, its traffic growing back
});

test('with neither control database nor disk, the order database’s copy holds', async () => {
  const request = { channel: 'bank_a', operations: ['pay' as const], setting: { kind: 'drain' as const } };
  const { id } = await store.setOverride(request, await seeing());
  await follower.close();
  const alone = await start(undefined);
  expect(alone.status()).toMatchObject({ source: 'persisted', connected: false });
  expect(bankA.pay.snapshot().gate.mode).toBe('draining');
  await alone.close();
  follower = await start(control.url);
  await store.endOverride('bank_a', id ?? '', await seeing());
  const { rows } = await knex.raw('select count(*)::int as kept from control_copy');
  expect(rows[0].kept).toBeGreaterThan(5);
});

test('overrides in force, the version and its source are metrics', async () => {
  const metrics = createCollectionMetrics(alarms);
  await follower.close();
  follower = await start(control.url, metrics);
  const setting = { kind: 'drain' } as const;
  const { version } = await store.setOverride(
    { channel: 'bank_b', operations: ['pay'], setting },
    await seeing('bank_b'),
  );
  const text = await metrics.registry.metrics();
  const series = (name: string, labels: string) => `ballast_${name}{${labels},service="collection"}`;
  const bankB = 'channel="bank_b",operation="pay"';
  expect(text).toContain(`${series('channel_override_active', bankB)} 1`);
  expect(text).toContain(`${series('channel_override_active', 'channel="bank_b",operation="reversal"')} 0`);
  expect(text).toContain(`${series('control_version', 'source="control"')} ${version}`);
  const [row] = await store.overrides('bank_b', 1);
  const expires = new Date(String(row?.['expires_at'])).getTime() / 1_000;
  const told = `${series('channel_override_expires_timestamp_seconds', `${bankB},kind="drain",break_glass="false"`)} `;
  expect(Math.abs(Number(text.split(told)[1]?.split('\n')[0]) - expires)).toBeLessThan(1);
});

test('a channel that nobody has used yet shows its state, its limits and what is left of them', async () => {
  const text = await collectionMetrics.registry.metrics();
  const value = (name: string, labels: string) =>
    new RegExp(`^ballast_channel_${name}\\{${labels},service="collection"\\} (.*)$`, 'm').exec(text)?.[1];
  const of = 'channel="bank_a",operation="inquiry"';
  const states = ['closed', 'open', 'half_open', 'recovering'];
  expect(states.map((state) => value('state', `${of},state="${state}"`))).toEqual(['1', '0', '0', '0']);
  expect(value('in_flight', of)).toBe('0');
  expect(value('in_flight_limit', of)).toBe('256');
  expect(value('waiting', of)).toBe('0');
  expect(value('waiting_limit', of)).toBe('1024');
  expect(value('retry_tokens', of)).toBe('5');
  expect(Number(value('timeout_seconds', of))).toBeGreaterThan(0);
});

test('what a candidate, or a rule that only alarms, would have refused is counted, and retries are', async () => {
  const tight = { algorithm: 'token_bucket', perSecond: 0.01, burst: 1 } as const;
  const limited = { ...rules, rate: { ...rules.rate, mode: 'enforce', limit: tight } } as const;
  const target = { channel: 'bank_b', operation: 'reversal' } as const;
  await store.putRules({ ...target, kind: 'shadow' }, limited, await seeing('bank_b'));
  const alarming = { ...limited, rate: { ...limited.rate, mode: 'alarm_only' } } as const;
  await store.putRules({ ...target, kind: 'channel' }, alarming, await seeing('bank_b'));
  for (let call = 0; call < 3; call++)
    expect(await bankB.reversal.run(ok, { deadline: soon() })).toMatchObject({ tries: 1 });
  await bankB.inquiry.run(async () => ({ kind: 'technical', value: 'sent' }), { deadline: performance.now() + 300 });
  const text = await collectionMetrics.registry.metrics();
  const total = (name: string, labels: string) =>
    Number(new RegExp(`^ballast_channel_${name}\\{${labels},service="collection"\\} (.*)$`, 'm').exec(text)?.[1]);
  const of = 'channel="bank_b",operation="reversal"';
  expect(total('would_refuse_total', `${of},by="shadow",rule="rate"`)).toBe(2);
  expect(total('would_refuse_total', `${of},by="alarm_only",rule="rate"`)).toBe(2);
  expect(text).toMatch(/ballast_channel_shadow_calls\{channel="bank_b",operation="reversal",service="collection"\} 3/);
  expect(total('retries_total', 'channel="bank_b",operation="inquiry",made="yes"')).toBeGreaterThan(0);
  for (const kind of ['shadow', 'channel'] as const)
    await store.putRules({ ...target, kind }, null, await seeing('bank_b'));
});

test('a broken glass is a critical alarm of every process that applies it, once', async () => {
  const change = { ...(await seeing()), breakGlass: true, reason: 'nobody else is awake' };
  const setting = { kind: 'forced_closed' } as const;
  await store.setOverride({ channel: 'bank_a', operations: ['pay'], setting }, change);
  await store.nudge('bank_a', 'probe_now', await seeing()); // another version with the same override in it
  const loud = raised.filter(({ name, subject }) => name === 'break_glass' && subject === 'bank_a forced_closed');
  expect(loud.filter(({ message }) => message.includes('nobody else is awake'))).toMatchObject([
    { severity: 'critical', message: expect.stringContaining('ops broke the glass') },
  ]);
  for (const row of await store.overrides('bank_a', 1))
    await store.endOverride('bank_a', `${row['id']}`, await seeing());
});

test('an operator whom another lets in is a critical alarm, once, and a metric for a day', async () => {
  const metrics = createCollectionMetrics(alarms);
  await follower.close();
  follower = await start(control.url, metrics);
  const guarded = async () => ({ by, reason: 'a test', seen: await store.versionOf('operators') });
  const newcomer = { name: 'newcomer', role: 'operator', password: 'correct horse battery' } as const;
  await store.addOperator(newcomer, await guarded()); // the database is being set up
  await store.nudge('bank_a', 'probe_now', await seeing());
  const loud = () => raised.filter(({ name }) => name === 'operator_let_in');
  expect(loud()).toEqual([]);
  await store.changeOperator('newcomer', { password: 'another good password' }, await guarded());
  await store.nudge('bank_a', 'probe_now', await seeing());
  expect(loud()).toMatchObject([
    { severity: 'critical', subject: 'newcomer', message: expect.stringMatching(/^ops /) },
  ]);
  expect(await metrics.registry.metrics()).toMatch(
    /ballast_operator_let_in_timestamp_seconds\{name="newcomer",by="ops",service="collection"\} \d/,
  );
});

test('a limit per terminal holds for each terminal by itself, and goes when it is switched off', async () => {
  const target = { kind: 'limiter', limiter: 'terminal' } as const;
  const limit = { algorithm: 'counter', calls: 2, windowMs: 60_000 } as const;
  const put = async (mode: 'enforce' | 'off') => {
    const seen = await store.versionOf('limiter:terminal');
    await store.putRules(target, { mode, scope: 'instance', limit, warmUpMs: 0 }, { by, reason: 'a test', seen });
  };
  const admits = (terminal: string) => {
    const admission = wayIn.inbound.admit({ interface: 'payments', merchant: 'm', terminal });
    if (admission.kind === 'admitted') admission.leave();
    return admission.kind;
  };
  await put('enforce');
  expect([admits('a'), admits('a'), admits('a'), admits('b')]).toEqual(['admitted', 'admitted', 'refused', 'admitted']);
  await put('off');
  expect(admits('a')).toBe('admitted');
});
