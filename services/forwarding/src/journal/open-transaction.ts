// A transaction of the source that stays open keeps every feed that reads the journal there: what it will commit is not
// visible yet, and is looked for again in each round. The feeds slow down meanwhile; a person should look at it.
import type { Logger } from '@ballast/telemetry';
import type { Journal } from './journal.ts';

/** A subscriber waits no longer than this. */
const SHORTEST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;

/**
 * How long a feed waits between two rounds of reading the journal. While a transaction stays open, each round looks at what
 * the last one has looked at: as long as it took, so that it is half of the time at most.
 */
export function pauseAfterRound(round: { isHeldUp: boolean; events: number; tookMs: number }): number {
  if (round.isHeldUp) return Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, round.tookMs));
  return round.events === 0 ? SHORTEST_PAUSE_MS : 0;
}

/** Every payment's transaction is over long before; so are exports and migrations that behave. */
const WORTH_A_WORD_SECONDS = 5;

/** Says so once for each transaction, whichever feeds it holds up. */
export function complainOfOpenTransaction(journal: Journal, logger: Logger): (xid: number) => void {
  let known = 0;
  let asking = false;

  async function ask(xid: number): Promise<void> {
    const holder = await journal.holder(xid);
    if (holder === undefined || holder.ageSeconds < WORTH_A_WORD_SECONDS) return;
    known = xid;
    const { who, state, ageSeconds } = holder;
    logger.error(
      { xid, who, state, age_seconds: ageSeconds },
      'a transaction of the source stays open: feeds cannot pass it, and read the same part of the journal again and again',
    );
  }

  return (xid) => {
    if (asking || xid === known) return;
    asking = true;
    ask(xid)
      .catch(() => undefined) // the source is away; whoever reads the journal says so
      .finally(() => {
        asking = false;
      });
  };
}
