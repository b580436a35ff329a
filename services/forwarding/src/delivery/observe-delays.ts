import type { Histogram } from '@ballast/telemetry';
import type { TailEntry } from '../tail/tail.ts';

/** Of each transaction once: from its commit to `at` (source's clock, ms), when it was acknowledged. */
export function observeDelays(
  delays: Pick<Histogram.Internal<string>, 'observe'>,
  entries: readonly TailEntry[],
  at: number,
): void {
  let observed = -1;
  for (const { lsn, xid, committedAt } of entries) {
    if (lsn === observed || xid === 0) continue;
    observed = lsn;
    delays.observe(Math.max(0, at - committedAt) / 1_000);
  }
}
