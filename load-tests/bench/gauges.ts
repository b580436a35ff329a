// What a process says of itself while a benchmark runs: the most that was seen of each of its gauges.
import { setTimeout as pause } from 'node:timers/promises';
import { readMetrics } from '../../scripts/system/read-metrics.ts';

const LOOK_MS = 1_000;

export interface GaugeWatch {
  /** The most that was seen; undefined: it was never there. */
  most(name: string): number | undefined;
  /** Looks, and those that were not answered in time. */
  readonly looks: { readonly made: number; readonly unanswered: number };
  close(): Promise<void>;
}

export function watchGauges(internalUrl: string, names: readonly string[]): GaugeWatch {
  const most = new Map<string, number>();
  const looks = { made: 0, unanswered: 0 };
  let closed = false;

  async function look(): Promise<void> {
    looks.made++;
    try {
      for (const { name, value } of await readMetrics(internalUrl))
        if (names.includes(name)) most.set(name, Math.max(most.get(name) ?? 0, value));
    } catch {
      looks.unanswered++; // it says so in the report; a process too busy to be looked at is a finding
    }
  }

  const looking = (async () => {
    while (!closed) {
      await look();
      await pause(LOOK_MS);
    }
  })();
  return {
    most: (name) => most.get(name),
    looks,
    close: async () => {
      closed = true;
      await looking;
    },
  };
}
