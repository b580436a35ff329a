// A caller that has something to do before its call (collection commits the order first) asks here whether it is worth it.
// A yes must hold: a probe's place is kept for it, or a hundred callers would be told yes where three may probe.
import type { Permit } from './breaker.ts';
import type { Layers } from './layers.ts';
import type { Reservation } from './policy-types.ts';
import { type Refusal, refusedByBreaker, refusedByBulkhead, refusedByQuota, refusedByRate } from './refusal.ts';

export function reserve(layers: Layers, consumer?: string): Refusal | Reservation {
  const { breaker, bulkhead, limiter, now, operator, quota, rules } = layers;
  const at = now();
  if (consumer !== undefined && rules.quota.mode === 'enforce') {
    const wait = quota.peek(consumer, at);
    if (wait > 0) return refusedByQuota(layers, wait);
  }
  const byGate = layers.peekGate();
  if (byGate !== null) return byGate;
  const { mode } = operator.gate;
  const permit = mode === 'forced_closed' || mode === 'metrics_only' ? null : breaker.permit(at);
  if (typeof permit === 'number') return refusedByBreaker(layers, permit);
  const reservation = reservationOf(layers, permit);
  const tokenWait = rules.rate.mode === 'enforce' ? limiter.peek(at, Number.POSITIVE_INFINITY) : 0;
  if (bulkhead.hasRoom() && tokenWait === 0) return reservation;
  reservation.giveBack();
  return tokenWait > 0 ? refusedByRate(layers, tokenWait) : refusedByBulkhead(layers, 'too many calls at once');
}

function reservationOf({ breaker }: Layers, permit: Permit | null): Reservation {
  let kept = permit;
  return {
    take: (now) => {
      if (kept === null || !breaker.isCurrent(kept, now)) return null;
      const taken = kept;
      kept = null;
      return taken;
    },
    giveBack: () => {
      if (kept !== null) breaker.cancel(kept);
      kept = null;
    },
  };
}
