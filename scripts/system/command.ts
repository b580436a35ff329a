// What every command of this folder does the same way: its options, its exit code, its sentence when it cannot run.
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { CannotRun } from './cannot-run.ts';
import { defaultDataDir } from './layout.ts';

export const exitCode = { done: 0, checkFailed: 1, usedWrongly: 2, couldNotRun: 3 } as const;
export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

export class UsedWrongly extends Error {}

/** Options of the command line, `--data DIR` among them; throws UsedWrongly on any other. */
export function readOptions<T extends ParseArgsOptionsConfig>(options: T, usage: string) {
  try {
    const all = { ...options, data: { type: 'string', default: defaultDataDir } } as const;
    const { values, positionals } = parseArgs({ options: all, allowPositionals: true });
    const { data, ...rest } = values as typeof values & { data: string };
    return { dataDir: data, values: rest as Omit<typeof values, 'data'>, words: positionals };
  } catch (error) {
    throw new UsedWrongly(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
  }
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Runs the command and ends the process with its exit code. Operating errors are sentences; bugs keep their stack. */
export async function runCommand(work: () => Promise<ExitCode>): Promise<never> {
  // A reader that went away (`| head`) is no error of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(exitCode.done);
  });
  try {
    process.exit(await work());
  } catch (error) {
    process.stderr.write(`ballast: ${sentenceOf(error)}\n`);
    process.exit(error instanceof UsedWrongly ? exitCode.usedWrongly : exitCode.couldNotRun);
  }
}

const sentences: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'The service does not answer. See what is wrong with: npm run doctor',
  UND_ERR_SOCKET: 'The connection broke before an answer came. See what is wrong with: npm run doctor',
  ENOSPC: 'The disk is full. Free some space and try again.',
  EACCES: 'This user may not write there. Choose another place with --data DIR.',
  EROFS: 'Nobody may write there. Choose another place with --data DIR.',
  ENOTDIR: 'That is no folder. Choose another place with --data DIR.',
};

function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof UsedWrongly || error instanceof CannotRun) return error.message;
  const known = sentences[(error as NodeJS.ErrnoException).code ?? ''];
  return known === undefined ? (error.stack ?? error.message) : `${known} (${error.message})`;
}
