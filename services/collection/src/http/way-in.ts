// The process's one judge of the way in, told of in metrics and the log, with the limits that operators set.
import type { ControlState } from '@ballast/control';
import { shareOf } from '@ballast/control';
import { createInbound, type Inbound, watchLoopLag } from '@ballast/resilience';
import type { Closing, Logger } from '@ballast/telemetry';
import type { CollectionMetrics } from '../metrics.ts';

export interface WayIn {
  readonly inbound: Inbound;
  /** The limiters in force, as the control database has them. */
  apply(state: Pick<ControlState, 'limiters' | 'shares'>): void;
}

/** A refusal is logged this often at most: under a storm the log must not become the load. */
const LOG_EVERY_MS = 1_000;

export function openWayIn(logger: Logger, metrics: CollectionMetrics, closing: Closing): WayIn {
  const lag = closing.add(watchLoopLag());
  let loggedAt = Number.NEGATIVE_INFINITY;
  const inbound = createInbound({
    lagMs: lag.lagMs,
    listener: (kind, refusal) => {
      metrics.inbound(kind, refusal.rule);
      if (performance.now() - loggedAt < LOG_EVERY_MS) return;
      loggedAt = performance.now();
      logger.warn(
        { kind, rule: refusal.rule, rules_version: refusal.rulesVersion, ...refusal.numbers },
        refusal.reason,
      );
    },
  });
  metrics.gauge('ballast_inbound_in_flight', 'Requests being served.', [], function () {
    this.set(inbound.inFlight);
  });
  const applied = new Map<string, number>();

  return {
    inbound,
    apply: ({ limiters, shares }) => {
      for (const name of applied.keys()) {
        if (limiters.some(({ limiter }) => limiter === name)) continue;
        inbound.applyLimiter(name, 0, null);
        applied.delete(name);
      }
      for (const { limiter, version, rules } of limiters) {
        // The same limiter set again would begin anew, full.
        if (applied.get(limiter) !== version) inbound.applyLimiter(limiter, version, rules);
        applied.set(limiter, version);
        inbound.setShare(limiter, rules.scope === 'cluster' ? shareOf(shares, `limiter:${limiter}`) : 1);
      }
    },
  };
}
