// What we may end: processes that are provably ours. A pid alone proves nothing, it may be another process by now; a
// command line that names our configuration file, or a start time noted together with the pid, does.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const POLL_MS = 25;

/** Tells this run of a pid from every other one. Undefined: no such process, or a dead one nobody has reaped. */
export function identityOf(pid: number): string | undefined {
  if (process.platform === 'linux') {
    try {
      // The command's name, in parentheses, may hold anything; state is field 3 and the start in ticks field 22.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
      const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
      return fields[0] === 'Z' ? undefined : `${boot} ${fields[19]}`;
    } catch (error) {
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
      throw error;
    }
  }
  const { status, stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Pids of the processes whose arguments include this file's path, whole. */
export function processesNaming(file: string): number[] {
  const { status, stdout } = spawnSync('ps', ['-axww', '-o', 'pid=', '-o', 'stat=', '-o', 'args='], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0)
    throw new Error('ps does not run here: install procps, Ballast needs it to find what it left running');
  return stdout
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(\S+)\s+(.*)$/.exec(line))
    .filter((found) => found !== null)
    .filter(([, , stat, args]) => !stat?.startsWith('Z') && ` ${args} `.includes(` ${file} `))
    .map(([, pid]) => Number(pid))
    .filter((pid) => pid !== process.pid);
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
