// Cores and memory of any processes while something goes on.
import { serverCpuSeconds, usageOf } from './processes.ts';

const LOOK_MS = 100;

export interface Used {
  readonly cores: Readonly<Record<string, number>>;
  /** The most that was seen, in MB; not of PostgreSQL, whose memory is shared. */
  readonly peakMegabytes: Readonly<Record<string, number>>;
}

/** `servers`: PostgreSQL, by the postmaster's pid. What has no pid, or is gone, is left out. */
export function watchUsage(
  pids: Readonly<Record<string, number | undefined>>,
  servers: Readonly<Record<string, number>>,
): { end(): Used } {
  const peaks: Record<string, number> = {};
  const processes = Object.entries(pids).flatMap(([name, pid]) => (pid === undefined ? [] : [[name, pid] as const]));
  const cpu = (): [string, number][] =>
    [
      ...processes.map(([name, pid]) => [name, usageOf(pid)?.cpuSeconds] as const),
      ...Object.entries(servers).map(([name, pid]) => [`postgres (${name})`, serverCpuSeconds(pid)] as const),
    ].flatMap(([name, seconds]) => (seconds == null ? [] : [[name, seconds]]));
  const look = () => {
    for (const [name, pid] of processes) peaks[name] = Math.max(peaks[name] ?? 0, (usageOf(pid)?.rssBytes ?? 0) / 1e6);
  };
  const timer = setInterval(look, LOOK_MS);
  const startedAt = performance.now();
  const before = new Map(cpu());
  return {
    end: () => {
      clearInterval(timer);
      look();
      const seconds = (performance.now() - startedAt) / 1_000;
      const cores = cpu().flatMap(([name, used]) => {
        const began = before.get(name);
        return began === undefined ? [] : [[name, (used - began) / seconds] as const];
      });
      return { cores: Object.fromEntries(cores), peakMegabytes: peaks };
    },
  };
}

export function coresText(cores: Readonly<Record<string, number>>): string {
  return Object.entries(cores)
    .map(([name, used]) => `${name} ${used.toFixed(2)}`)
    .join(', ');
}
