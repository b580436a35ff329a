// `ballast channel …`: what holds on a channel, and moving it.
import { type OverrideSetting, overrideSettingSchema } from '@ballast/contracts';
import { type Change, channelTarget, type OverrideRequest } from '@ballast/control';
import { type ExitCode, exitCode, say, UsedWrongly } from '../system/command.ts';
import { channelsIn, metricsOf } from '../system/look-around.ts';
import { type Operator, table, tellOutcome, wordAt } from './operator.ts';

type Row = Readonly<Record<string, unknown>>;

const MOST_ROWS = 1_000;

export async function channel(operator: Operator): Promise<ExitCode> {
  const [action = 'list'] = operator.words;
  if (action === 'list') return list(operator);
  const name = wordAt(operator, 1, 'the channel');
  switch (action) {
    case 'show':
      return show(operator, name);
    case 'history':
      return history(operator, name);
    case 'open':
      return open(operator, name);
    case 'probe':
    case 'reset':
      return nudge(operator, name, action === 'probe' ? 'probe_now' : 'close_now');
    default:
      return set(operator, name, settingOf(operator, action));
  }
}

function settingOf(operator: Operator, action: string): OverrideSetting {
  switch (action) {
    case 'close':
    case 'force-open':
      return { kind: 'forced_open' };
    case 'force-closed':
      return { kind: 'forced_closed' };
    case 'drain':
      return { kind: 'drain' };
    case 'metrics-only':
      return { kind: 'metrics_only' };
    case 'maintenance':
      return { kind: 'maintenance' };
    case 'percent':
      return parsed({ kind: 'percent_open', share: Number(wordAt(operator, 2, 'the percentage')) / 100 });
    case 'limit':
      return parsed({
        kind: 'limit',
        perSecond: operator.number('per-second'),
        maxInFlight: operator.number('in-flight'),
      });
    default:
      throw new UsedWrongly(`channel: there is no "${action}"; see npx ballast help`);
  }
}

function parsed(setting: unknown): OverrideSetting {
  const result = overrideSettingSchema.safeParse(setting);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new UsedWrongly(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'wrong'}`);
}

async function set(operator: Operator, name: string, setting: OverrideSetting): Promise<ExitCode> {
  const { store } = operator;
  const change = await operator.change(channelTarget(name));
  const operations = operator.operations();
  const lastsMs = operator.durationMs('for');
  const startsInMs = operator.durationMs('in');
  await tellBlastRadius(operator, name);
  const request = {
    channel: name,
    operations,
    setting,
    ...(lastsMs === undefined ? {} : { lastsMs }),
    ...(startsInMs === undefined ? {} : { startsInMs }),
  };
  const two = await store.takesTwo(request);
  if (two && operator.text('confirm') !== name) throw new UsedWrongly(meant(name, setting));
  if (two && change.breakGlass !== true) return propose(operator, request, change);
  const outcome = await store.setOverride(request, change);
  return tellOutcome(
    `${name} ${operations.join(', ')}: ${setting.kind}${untilOf((await store.overrides(name, 1))[0])}`,
    outcome,
  );
}

function untilOf(row: Row | undefined): string {
  return row?.['expires_at'] instanceof Date ? ` until ${row['expires_at'].toISOString()}` : '';
}

/** What would feel it: the channel's part of the payments, and the processes that would apply it. */
async function tellBlastRadius({ store, run }: Operator, name: string): Promise<void> {
  const samples = await metricsOf(run?.services.collection?.internal_url);
  const seen = channelsIn(samples, Object.keys(run?.banks ?? {}));
  const callsOf = (calls: Record<string, number>) => Object.values(calls).reduce((sum, count) => sum + count, 0);
  const all = seen.reduce((sum, { calls }) => sum + callsOf(calls), 0);
  const here = seen.find(({ channel: one }) => one === name);
  const part =
    here === undefined || all === 0
      ? 'its part of the payments is not known'
      : `${Math.round((100 * callsOf(here.calls)) / all)} % of the payments since collection started`;
  say(`${name}: ${part}; processes that follow: ${(await store.instances()).length}.`);
}

/** Some switches are moved only by who types the channel's name: what overrules the breaker, and the last way to pay. */
function meant(name: string, setting: OverrideSetting): string {
  const why =
    setting.kind === 'forced_closed' || setting.kind === 'metrics_only'
      ? 'everything would pass, whatever the breaker sees'
      : 'it is the last healthy channel: nobody could pay any more, or hardly anybody';
  return `${why}. If that is meant, say it again with --confirm ${name}`;
}

async function propose({ store }: Operator, request: OverrideRequest, change: Change): Promise<ExitCode> {
  const outcome = await store.proposeOverride(request, change);
  say(
    `${request.channel}: ${request.setting.kind} takes a second person. Within a quarter of an hour, as somebody else:`,
  );
  say(`  npx ballast confirm ${outcome.id} --as NAME --reason TEXT`);
  say('Nothing has changed yet. Alone, at once, and loud: the same command with --break-glass');
  return exitCode.done;
}

/** Ends every gate in force; each is a change of its own, so the version moves along with them. */
async function open(operator: Operator, name: string): Promise<ExitCode> {
  const active = (await operator.store.overrides(name, MOST_ROWS)).filter(
    (row) => row['state'] === 'active' && row['kind'] !== 'limit',
  );
  if (active.length === 0) say(`${name} is automatic already: no gate is in force.`);
  let change = await operator.change(channelTarget(name));
  let worst: ExitCode = exitCode.done;
  for (const row of active) {
    const outcome = await operator.store.endOverride(name, String(row['id']), change);
    const code = tellOutcome(`${name}: ${row['kind']} ended`, outcome);
    if (code !== exitCode.done) worst = code;
    change = { ...change, seen: outcome.version };
  }
  return worst;
}

async function nudge(operator: Operator, name: string, action: 'probe_now' | 'close_now'): Promise<ExitCode> {
  const change = await operator.change(channelTarget(name));
  return tellOutcome(`${name}: ${action}`, await operator.store.nudge(name, action, change));
}

async function list({ store, run }: Operator): Promise<ExitCode> {
  const active = (await store.overrides(null, MOST_ROWS)).filter((row) => row['state'] === 'active');
  const names = new Set([...Object.keys(run?.banks ?? {}), ...active.map((row) => String(row['channel']))]);
  const seen = channelsIn(await metricsOf(run?.services.collection?.internal_url), [...names]);
  const rows = seen.map(({ channel: name, state, calls }) => [
    name,
    run === undefined ? '–' : state,
    active
      .filter((row) => row['channel'] === name)
      .map(told)
      .join('; ') || 'automatic',
    `approved ${calls.approved}, declined ${calls.declined}, technical ${calls.technical}, timeout ${calls.timeout}, refused ${calls.refused}`,
  ]);
  table(['CHANNEL', 'BREAKER', 'SET BY OPERATORS', 'CALLS OF PAY'], rows);
  return exitCode.done;
}

function told(row: Row): string {
  const { kind, operations, setting, expires_at: until, reason } = row as Record<string, unknown>;
  const numbers = Object.keys(setting as object).length === 0 ? '' : ` ${JSON.stringify(setting)}`;
  return `${kind}${numbers} on ${String(operations)} until ${(until as Date).toISOString()} (${reason})`;
}

async function show({ store }: Operator, name: string): Promise<ExitCode> {
  say(`${name} is at version ${await store.versionOf(channelTarget(name))}.`);
  say('\nOverrides');
  const open = (await store.overrides(name, MOST_ROWS)).filter((row) =>
    ['active', 'scheduled'].includes(String(row['state'])),
  );
  table(
    ['ID', 'STATE', 'WHAT', 'BY'],
    open.map((row) => [row['id'], row['state'], told(row), row['author']]),
  );
  say('\nRules (an operation without a row runs on the built-in ones)');
  const latest = new Map<unknown, Row>();
  for (const row of await store.rules(null, MOST_ROWS)) {
    const [, of] = String(row['target']).split(':');
    if (of === name && !latest.has(row['target'])) latest.set(row['target'], row);
  }
  table(
    ['TARGET', 'VERSION', 'BY', 'REASON', 'RULES'],
    [...latest.values()].map((row) => [
      row['target'],
      row['version'],
      row['author'],
      row['reason'],
      row['rules'] ?? 'built-in',
    ]),
  );
  say('\nProcesses');
  const processes = await store.instances();
  table(
    ['NAME', 'APPLIES', 'FROM', 'PROBLEM'],
    processes.map((one) => [one.name, one.appliedVersion, one.source, one.problem]),
  );
  return exitCode.done;
}

async function history({ store, number }: Operator, name: string): Promise<ExitCode> {
  const entries = await store.audit(channelTarget(name), number('limit') ?? 50);
  table(
    ['AT', 'OUTCOME', 'VERSION', 'ACTION', 'BY', 'REASON', 'DETAILS'],
    entries.map((e) => [e['at'], e['outcome'], e['version'], e['action'], e['author'], e['reason'], e['details']]),
  );
  return exitCode.done;
}
