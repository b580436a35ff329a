// `ballast drill …`: a fault on purpose, on a share of a channel's calls, for a time; it ends by itself.
import { type DrillFault, drillFaultSchema } from '@ballast/contracts';
import { channelTarget } from '@ballast/control';
import { type ExitCode, exitCode, UsedWrongly } from '../system/command.ts';
import { type Operator, table, tellOutcome, wordAt } from './operator.ts';

const MOST_ROWS = 1_000;
const DEFAULT_SHARE = 0.1;
const DEFAULT_MINIMUM_CALLS = 20;
const DEFAULT_FAILURE_RATE = 0.5;

export async function drill(operator: Operator): Promise<ExitCode> {
  const { store, words, number } = operator;
  const [action = 'list'] = words;
  switch (action) {
    case 'list': {
      const rows = await store.drills(words[1] ?? null, number('limit') ?? 20);
      const columns = [
        'id',
        'state',
        'channel',
        'operations',
        'fault',
        'share',
        'traffic',
        'ends_at',
        'reason',
        'reports',
      ];
      table(
        columns.map((column) => column.toUpperCase()),
        rows.map((row) => columns.map((column) => row[column])),
      );
      return exitCode.done;
    }
    case 'start':
      return start(operator);
    case 'stop': {
      const id = wordAt(operator, 1, 'the drill (drl_…)');
      const found = (await store.drills(null, MOST_ROWS)).find((row) => row['id'] === id);
      if (found === undefined) throw new UsedWrongly(`There is no drill ${id}.`);
      const channel = String(found['channel']);
      const change = await operator.change(channelTarget(channel));
      return tellOutcome(`${channel}: ${id} stopped`, await store.stopDrill(channel, id, change));
    }
    default:
      throw new UsedWrongly(`drill: there is no "${action}"; see npx ballast help`);
  }
}

async function start(operator: Operator): Promise<ExitCode> {
  const { number, flag } = operator;
  const channel = wordAt(operator, 1, 'the channel');
  const fault = faultOf(operator, wordAt(operator, 2, 'the fault'));
  const lastsMs = operator.durationMs('for');
  if (lastsMs === undefined) throw new UsedWrongly('A drill needs its duration: --for 10m (at most 1h)');
  const request = {
    channel,
    operations: operator.operations(),
    traffic: flag('all-traffic') ? ('all' as const) : ('coloured' as const),
    share: number('share') ?? DEFAULT_SHARE,
    fault,
    stopWhen: {
      minimumCalls: number('stop-minimum-calls') ?? DEFAULT_MINIMUM_CALLS,
      failureRate: number('stop-failure-rate') ?? DEFAULT_FAILURE_RATE,
      slowestMs: number('stop-slowest-ms') ?? null,
      breakerOpens: flag('stop-breaker-opens'),
    },
    lastsMs,
  };
  const change = await operator.change(channelTarget(channel));
  return tellOutcome(`${channel}: drill ${fault.kind}`, await operator.store.startDrill(request, change));
}

function faultOf({ number }: Operator, kind: string): DrillFault {
  const numbers = { ms: number('ms'), status: number('status'), bytesPerSecond: number('bytes-per-second') };
  const given = Object.fromEntries(Object.entries(numbers).filter(([, value]) => value !== undefined));
  const fault = drillFaultSchema.safeParse({ kind, ...given });
  if (fault.success) return fault.data;
  const [issue] = fault.error.issues;
  throw new UsedWrongly(`fault "${kind}": ${issue?.path.join('.') ?? ''} ${issue?.message ?? 'wrong'}`);
}
