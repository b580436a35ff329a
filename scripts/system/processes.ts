// What we may end: processes that are provably ours. A pid alone proves nothing, it may be another process by now; a
// command line that names our configuration file, or a start time noted together with the pid, does.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const POLL_MS = 25;

/** Tells this run of a pid from every other one. Undefined: no such process, or a dead one nobody has reaped. */
export function identityOf(pid: number): string | undefined {
  if (process.platform === 'linux') {
    // The command's name, in parentheses, may hold anything; state is field 3 and the start in ticks field 22.
    const fields = readProc(pid, 'stat')?.split(') ').at(-1)?.split(' ');
    if (fields === undefined || fields[0] === 'Z') return undefined;
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${fields[19]}`;
  }
  const { status, stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Pids of the processes whose arguments include this file's path, whole. */
export function processesNaming(file: string): number[] {
  return processesWhere((args) => args.includes(` ${file} `));
}

/** Pids of the processes whose arguments include a path below this folder. */
export function processesBelow(folder: string): number[] {
  return processesWhere((args) => args.includes(`${folder}/`));
}

/** `fits` is shown a process's arguments with a space before, between and after them. */
function processesWhere(fits: (args: string) => boolean): number[] {
  return everyProcess()
    .filter(({ pid, args }) => pid !== process.pid && fits(args))
    .map(({ pid }) => pid);
}

function everyProcess(): { pid: number; args: string }[] {
  // Not with ps where it can be helped: the smallest images have none.
  if (process.platform === 'linux')
    return readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .map((pid) => ({ pid: Number(pid), args: ` ${readProc(pid, 'cmdline')?.replaceAll('\0', ' ') ?? ''}` }));
  const { status, stdout } = spawnSync('ps', ['-axww', '-o', 'pid=', '-o', 'stat=', '-o', 'args='], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) throw new Error('ps does not run here, and Ballast needs it to find what it left running');
  return stdout
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(\S+)\s+(.*)$/.exec(line))
    .filter((found) => found !== null && !found[2]?.startsWith('Z'))
    .map((found) => ({ pid: Number(found?.[1]), args: ` ${found?.[3]} ` }));
}

/** Undefined: no such process any more. A dead one that nobody has reaped has an empty command line. */
function readProc(pid: number | string, file: 'stat' | 'cmdline'): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** SIGTERM, and SIGKILL after `graceMs`. Resolves when the process is gone. */
export async function endProcess(pid: number, graceMs: number): Promise<void> {
  const identity = identityOf(pid);
  if (identity === undefined) return;
  const gone = () => identityOf(pid) !== identity;
  for (const signal of ['SIGCONT', 'SIGTERM', 'SIGKILL'] as const) {
    if (!signalIfThere(pid, signal)) return;
    if (signal === 'SIGCONT') continue; // a stopped process would sleep through SIGTERM
    const until = performance.now() + graceMs;
    while (performance.now() < until) {
      if (gone()) return;
      await pause(POLL_MS);
    }
  }
  if (!gone()) throw new Error(`process ${pid} did not end after SIGKILL`);
}

/** False: there was none any more. */
export function signalIfThere(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}
