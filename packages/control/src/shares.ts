// Shares of limits that are the whole cluster's. Each process leases an equal share and renews it twice a second; what a
// dead process held returns when its lease ends. With the control database away the last share stays: a quota that is
// exceeded by what one lost process would have used is better than refused payments.
import type { ControlDocument } from './document.ts';
import { leaseQuotaSql } from './reads.sql.ts';
import type { Session } from './session.ts';

export interface Shares {
  readonly current: ReadonlyMap<string, number>;
  /** Renews what is due; resolves to whether a share changed. */
  renew(session: Session, document: ControlDocument): Promise<boolean>;
}

const RENEW_MS = 500;
const LEASE_MS = 3_000;
/** Before any lease: as if there were four processes. */
const UNKNOWN_SHARE = 0.25;

/** `leases`: which limits this process uses at all; what it does not use it takes no share of. */
export function createShares(run: string, leases: (target: string) => boolean): Shares {
  const granted = new Map<string, number>();
  let renewedAt = Number.NEGATIVE_INFINITY;

  return {
    current: granted,
    renew: async (session, document) => {
      const wanted = clusterTargets(document).filter(leases);
      const isNew = wanted.some((target) => !granted.has(target));
      if (!isNew && performance.now() - renewedAt < RENEW_MS) return false;
      renewedAt = performance.now();
      let changed = false;
      for (const target of wanted) {
        const [row] = await session.query<{ share: number }>(leaseQuotaSql, [
          target,
          run,
          1,
          granted.get(target) ?? 0,
          LEASE_MS,
        ]);
        if (row === undefined) throw new Error('BUG: lease_quota returns a row');
        changed ||= granted.get(target) !== row.share;
        granted.set(target, row.share);
      }
      for (const target of granted.keys()) {
        if (!wanted.includes(target)) changed = granted.delete(target);
      }
      return changed;
    },
  };
}

/** The share to use of a limit whose scope is the cluster. */
export function shareOf(shares: ReadonlyMap<string, number>, target: string): number {
  return shares.get(target) ?? UNKNOWN_SHARE;
}

/** A limit that an operator sets is meant for the whole cluster too. */
function clusterTargets(document: ControlDocument): string[] {
  const targets = [
    ...document.overrides
      .filter(({ setting }) => setting.kind === 'limit' && setting.perSecond !== undefined)
      .flatMap(({ channel, operations }) => operations.map((operation) => `channel:${channel}:${operation}`)),
    ...document.channels
      .filter(({ rules }) => rules.rate.scope === 'cluster' || rules.quota.scope === 'cluster')
      .map(({ channel, operation }) => `channel:${channel}:${operation}`),
    ...document.limiters.filter(({ rules }) => rules.scope === 'cluster').map(({ limiter }) => `limiter:${limiter}`),
  ];
  return [...new Set(targets)];
}
