// What processes use, from Linux's /proc; nothing where there is no /proc.
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** Clock ticks per second, as every Linux of our time has it. */
const TICKS = 100;

export interface Usage {
  readonly cpuSeconds: number;
  readonly rssBytes: number;
}

export function usageOf(pid: number): Usage | null {
  const stat = read(`/proc/${pid}/stat`);
  const status = read(`/proc/${pid}/status`);
  if (stat === null || status === null) return null;
  return { cpuSeconds: cpuOf(stat), rssBytes: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1_024 };
}

/** A PostgreSQL server: CPU of the postmaster, of its children, and of those that have ended. */
export function serverCpuSeconds(postmaster: number): number | null {
  if (!existsSync('/proc/self/stat')) return null;
  let seconds = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = read(`/proc/${name}/stat`);
    if (stat === null) continue;
    const fields = fieldsOf(stat);
    if (Number(name) === postmaster) seconds += cpuOf(stat) + (Number(fields[13]) + Number(fields[14])) / TICKS;
    else if (Number(fields[1]) === postmaster) seconds += cpuOf(stat);
  }
  return seconds;
}

/** From the third field on (state, parent, …); the second is a name in brackets that may hold anything. */
function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function cpuOf(stat: string): number {
  const fields = fieldsOf(stat);
  return (Number(fields[11]) + Number(fields[12])) / TICKS; // utime, stime
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null; // it ended between our two looks, or this is no Linux
  }
}
