// Who sits at the terminal, what they asked for, and the control database they ask it of.
import type { ParseArgsOptionsConfig } from 'node:util';
import { type ChannelOperation, operationSchema } from '@ballast/contracts';
import { type Change, type ControlStore, type Outcome, openControlStore } from '@ballast/control';
import { type ExitCode, exitCode, say, UsedWrongly } from '../system/command.ts';
import { type RunFile, readRunFile } from '../system/run-file.ts';
import { createSignIn } from './sign-in.ts';

export const options = {
  reason: { type: 'string', default: '' },
  as: { type: 'string' },
  'break-glass': { type: 'boolean' },
  role: { type: 'string' },
  for: { type: 'string' },
  in: { type: 'string' },
  operations: { type: 'string', default: 'pay' },
  'if-match': { type: 'string' },
  'control-url': { type: 'string' },
  'database-url': { type: 'string' },
  'restored-to': { type: 'string' },
  confirm: { type: 'string' },
  'per-second': { type: 'string' },
  'in-flight': { type: 'string' },
  ms: { type: 'string' },
  status: { type: 'string' },
  'bytes-per-second': { type: 'string' },
  share: { type: 'string' },
  'all-traffic': { type: 'boolean' },
  'stop-failure-rate': { type: 'string' },
  'stop-slowest-ms': { type: 'string' },
  'stop-minimum-calls': { type: 'string' },
  'stop-breaker-opens': { type: 'boolean' },
  verify: { type: 'boolean' },
  anchor: { type: 'string' },
  limit: { type: 'string' },
  force: { type: 'boolean' },
  help: { type: 'boolean' },
} as const satisfies ParseArgsOptionsConfig;

type Values = Partial<Record<keyof typeof options, string | boolean | undefined>>;

export interface Operator {
  readonly store: ControlStore;
  /** Undefined: the control database was named by its URL, nothing is known of the system around it. */
  readonly run: RunFile | undefined;
  readonly words: readonly string[];
  text(name: keyof typeof options): string | undefined;
  number(name: keyof typeof options): number | undefined;
  flag(name: keyof typeof options): boolean;
  durationMs(name: 'for' | 'in'): number | undefined;
  operations(): ChannelOperation[];
  /** The change on its target: by whom, why, and the version they see (now, or the one they name). */
  change(target: string): Promise<Change>;
}

export function openOperator(asked: { dataDir: string; values: Values; words: readonly string[] }): Operator {
  const { values, words, dataDir } = asked;
  const text = (name: keyof typeof options) => {
    const value = values[name];
    return typeof value === 'string' ? value : undefined;
  };
  const controlUrl = text('control-url');
  const run = controlUrl === undefined ? readRunFile(dataDir) : undefined;
  const url = controlUrl ?? run?.databases.control;
  if (url === undefined) throw new Error('BUG: a run file names its databases');
  const store = openControlStore({ url, ...(run === undefined ? {} : { stateDir: run.data_dir }) });

  const signIn = createSignIn({ store, run, name: text('as'), purpose: words.join(' ') });

  function number(name: keyof typeof options): number | undefined {
    const value = text(name);
    if (value === undefined) return undefined;
    if (value.trim() === '' || !Number.isFinite(Number(value)))
      throw new UsedWrongly(`--${name} must be a number, is "${value}"`);
    return Number(value);
  }

  return {
    store,
    run,
    words,
    text,
    number,
    flag: (name) => values[name] === true,
    durationMs: (name) => durationMs(name, text(name)),
    operations: () =>
      (text('operations') ?? '').split(',').map((word) => {
        const operation = operationSchema.safeParse(word.trim());
        if (!operation.success) throw new UsedWrongly(`--operations: "${word}" is none of ${operationSchema.options}`);
        return operation.data;
      }),
    change: async (target) => ({
      by: await signIn(),
      reason: text('reason') ?? '',
      seen: number('if-match') ?? (await store.versionOf(target)),
      breakGlass: values['break-glass'] === true,
    }),
  };
}

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000 } as const;

function durationMs(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const found = /^([0-9]+(?:\.[0-9]+)?)([smh])$/.exec(value);
  if (found === null) throw new UsedWrongly(`--${name} must be like 90s, 30m or 2h, is "${value}"`);
  return Number(found[1]) * UNITS[found[2] as keyof typeof UNITS];
}

/** The word at that place, or how it should have been. */
export function wordAt({ words }: Operator, place: number, what: string): string {
  const word = words[place];
  if (word === undefined) throw new UsedWrongly(`Name ${what}.`);
  return word;
}

/** What became of a change, process by process. Exit code 1 when one has not applied it. */
export function tellOutcome(what: string, { version, id, applied, lagging }: Outcome): ExitCode {
  say(`${what}: version ${version}${id === null ? '' : `, ${id}`}`);
  if (applied.length > 0) say(`  applied by ${applied.map(({ name }) => name).join(', ')}`);
  for (const { name, appliedVersion, silentMs, problem } of lagging) {
    const why =
      problem ?? (silentMs > 3_000 ? `silent for ${Math.round(silentMs / 1_000)} s` : 'no word of it within 1 s');
    say(`  NOT applied by ${name} (it is at version ${appliedVersion}): ${why}`);
  }
  if (applied.length + lagging.length === 0) say('  no process follows this control database');
  return lagging.length === 0 ? exitCode.done : exitCode.checkFailed;
}

/** Columns as wide as their widest cell. */
export function table(head: readonly string[], rows: readonly (readonly unknown[])[]): void {
  const cells = [head, ...rows].map((row) => row.map((cell) => shown(cell)));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  for (const row of cells)
    say(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  if (rows.length === 0) say('  none');
}

function shown(cell: unknown): string {
  if (cell === null || cell === undefined) return '–';
  if (cell instanceof Date) return cell.toISOString();
  return typeof cell === 'object' ? JSON.stringify(cell) : String(cell);
}
