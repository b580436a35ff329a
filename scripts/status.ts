// `npm run status`: one screen. With --watch, again every second.
import { setTimeout as pause } from 'node:timers/promises';
import { exitCode, readOptions, runCommand, say } from './system/command.ts';
import {
  type ChannelSeen,
  channelsIn,
  lookAtServices,
  metricsOf,
  openOrders,
  recentOrders,
  rowsOf,
} from './system/look-around.ts';
import { lookAtForwarding } from './system/look-at-forwarding.ts';
import { type RunFile, readRunFile } from './system/run-file.ts';

const usage = 'Usage: npm run status -- [--watch] [--data DIR]';
const WATCH_MS = 1_000;
const colours = { red: 31, green: 32, yellow: 33 } as const;

await runCommand(async () => {
  const { dataDir, values } = readOptions({ watch: { type: 'boolean' } }, usage);
  if (values.watch !== true) {
    const screen = await draw(readRunFile(dataDir));
    say(screen.text);
    return screen.healthy ? exitCode.done : exitCode.checkFailed;
  }
  process.on('SIGINT', () => process.exit(exitCode.done));
  for (;;) {
    const { text } = await draw(readRunFile(dataDir));
    say(`${process.stdout.isTTY ? '\u001b[2J\u001b[H' : ''}${text}`);
    await pause(WATCH_MS);
  }
});

async function draw(run: RunFile): Promise<{ text: string; healthy: boolean }> {
  const [services, collection, forwarding, recent, open] = await Promise.all([
    lookAtServices(run),
    metricsOf(run.services.collection?.internal_url),
    lookAtForwarding(run),
    rowsOf<{ status: string; count: number }>(run.databases.orders, recentOrders),
    rowsOf<{ status: string; count: number; oldest_seconds: number }>(run.databases.orders, openOrders),
  ]);
  const channels = channelsIn(collection, Object.keys(run.banks));
  const lines = [
    `Ballast in ${run.data_dir}, up since ${run.started_at}; now ${new Date().toISOString()}`,
    '',
    'Services',
    ...services.map(
      ({ name, pid, trouble }) =>
        `  ${trouble === undefined ? paint('green', '● ready  ') : paint('red', '✗ trouble')} ${name.padEnd(16)} pid ${String(pid).padEnd(8)} ${trouble ?? ''}`,
    ),
    '',
    'Channels (calls since collection started)',
    ...channels.map(lineOf),
    '',
    `Orders of the last 5 minutes   ${listOf(recent)}`,
    `Not decided yet                ${
      open instanceof Error
        ? paint('red', open.message)
        : open.map((row) => `${row.count} ${row.status} (oldest ${Math.round(row.oldest_seconds)} s)`).join(', ') ||
          'none'
    }`,
    `Forwarding                     ${
      forwarding?.subscribers
        .map(({ subscriber, state, lag_seconds }) => `${subscriber} ${state}, ${lag_seconds.toFixed(1)} s behind`)
        .join('; ') ?? '–'
    }`,
  ];
  const healthy = services.every(({ trouble }) => trouble === undefined) && !(recent instanceof Error);
  return { text: lines.join('\n'), healthy };
}

/** An operator's word stands before the breaker's: one that is closed says nothing about a channel that somebody has shut. */
function lineOf({ channel, state, overrides, calls }: ChannelSeen): string {
  const word = overrides[0]?.kind ?? state;
  const mark = word === 'closed' ? paint('green', '● closed      ') : paint('red', `✗ ${word.padEnd(12)}`);
  const until = overrides
    .map(({ kind, endsAt }) => `; ${kind} until ${endsAt.toISOString().slice(11, 19)} UTC`)
    .join('');
  const { approved, declined, technical, timeout, refused } = calls;
  return `  ${mark} ${channel.padEnd(10)} approved ${approved}, declined ${declined}, technical ${technical}, timeout ${timeout}, refused by us ${refused}${until}`;
}

function listOf(rows: { status: string; count: number }[] | Error): string {
  if (rows instanceof Error) return paint('red', rows.message);
  return rows.map(({ status, count }) => `${count} ${status}`).join(', ') || 'none';
}

/** Colour beside the word and the shape, never instead of them. */
function paint(colour: keyof typeof colours, text: string): string {
  return process.stdout.isTTY ? `\u001b[${colours[colour]}m${text}\u001b[0m` : text;
}
