// Looks for open orders past their lease and resolves them, a few at a time. Several instances share the work: the lease
// is taken by a conditional update, so an order is resolved by one of them.
import type { PaymentsCore } from '../payments/core.ts';
import { openOrders } from '../payments/orders.sql.ts';
import { resolveDoubt } from '../payments/resolve-doubt.ts';

const INTERVAL_MS = 500;
const CANDIDATES = 64;
/** Bank calls of the resolver at once; payments have their own bulkhead in the channel. */
const AT_ONCE = 16;

/** One look: resolves to how many orders were looked at. For tests, and the body of `runResolver`. */
export async function runOnce(core: PaymentsCore): Promise<number> {
  const candidates = await openOrders(core.knex, CANDIDATES);
  const waiting = candidates.values();
  const worker = async () => {
    for (const candidate of waiting) {
      try {
        await resolveDoubt(core, candidate);
      } catch (error) {
        core.logger.error({ order_id: candidate.order_id, err: error }, 'resolver: order left for its next lease');
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, candidates.length) }, worker));
  return candidates.length;
}

/** For ever, until closed; `close` waits for the look under way. */
export function runResolver(core: PaymentsCore): { close(): Promise<void> } {
  let closed = false;
  let wake: () => void = () => undefined;
  const loop = async () => {
    while (!closed) {
      const looked = await runOnce(core).catch((error: unknown) => {
        core.logger.error({ err: error }, 'resolver: could not look for open orders');
        return 0;
      });
      if (closed || looked === CANDIDATES) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, INTERVAL_MS).unref();
      });
    }
  };
  const running = loop();
  return {
    close: async () => {
      closed = true;
      wake();
      await running;
    },
  };
}
