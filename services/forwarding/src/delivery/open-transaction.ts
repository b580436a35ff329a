// A transaction of the source that stays open keeps every feed that reads the journal there: what it will commit is not
// visible yet, and is looked for again in each round. The feeds slow down meanwhile; a person should look at it.
import type { Logger } from '@ballast/telemetry';
import type { Journal } from './journal.ts';

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
