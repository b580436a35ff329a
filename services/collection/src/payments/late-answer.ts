// An answer of the bank that was not learnt under the lease it was asked under. It is late: it came after its call was
// abandoned. Or it is stale: it came in time, but the lease was taken meanwhile, or the commit failed. The bank's word on
// the charge counts all the same. An approval is either still in time for the terminal (before approve_until the order
// becomes approved) or it is reversed, whatever the order's state: it never revives what ended, and it is never forgotten.
import { setTimeout as pause } from 'node:timers/promises';
import type { LateAnswer } from '@ballast/channels';
import { fromBankReference } from './bank-reference.ts';
import type { PaymentsCore } from './core.ts';
import { type Effect, learnOutside } from './learn-outside.ts';
import { lessonOf } from './learnt.ts';
import { type Asked, noteDoubtfulAnswer, noteOddAnswer } from './odd-answers.ts';
import { factsOfRow } from './replay.ts';

type Outcome = LateAnswer['outcome'];
/** What the bank says of the charge itself. */
type Word = Extract<Outcome, { kind: 'approved' | 'declined' }>;

/** While the database is away it is tried again once a second, for so long. */
const PATIENCE_MS = 60_000;
const AGAIN_AFTER_MS = 1_000;
/** Waiting to be tried again; there are never more payments under way. */
const MOST_PAUSING = 2_000;
let pausing = 0;

/** Never rejects: nobody waits for it. */
export async function takeLateAnswer(core: PaymentsCore, channel: string, late: LateAnswer): Promise<void> {
  const named = fromBankReference(late.identity.bankReference);
  if (named === null) throw new Error(`BUG: ${late.identity.bankReference} is not a reference of ours`);
  const asked: Asked = {
    merchantId: late.consumer,
    orderId: named.orderId,
    attemptNo: named.attempt,
    channel,
    bankReference: late.identity.bankReference,
  };
  noteDoubtfulAnswer(core, late.operation, asked, late.outcome);
  await take(core, 'late', late.operation, asked, late.outcome);
}

/** For whoever asked and could not learn the answer under his lease. Never rejects. */
export function takeStaleAnswer(
  core: PaymentsCore,
  operation: LateAnswer['operation'],
  asked: Asked,
  outcome: Outcome,
): Promise<void> {
  return take(core, 'stale', operation, asked, outcome);
}

async function take(
  core: PaymentsCore,
  how: 'late' | 'stale',
  operation: string,
  asked: Asked,
  outcome: Outcome,
): Promise<void> {
  switch (outcome.kind) {
    case 'approved':
    case 'declined': {
      const effect = await learnInLine(core, asked, outcome);
      if (effect === null || (how === 'stale' && isOrdinary(effect, outcome))) return;
      noteOddAnswer(core, operation, asked, `${how}_${outcome.kind}`, effectText(effect), outcome.evidence);
      return;
    }
    case 'reversed':
    case 'refused':
      // Kept, not learnt: an approval may have surfaced since it was asked for. The reversal is repeated under a lease.
      if (how === 'late') noteOddAnswer(core, operation, asked, `late_${outcome.kind}`, 'none', outcome.evidence);
      return;
    case 'in_doubt':
    case 'not_sent':
    case 'not_found':
      return; // nothing that the next inquiry or reversal would not say
  }
}

/** Null: it could not be learnt, and the log has it. What an order that is open needs, the resolver asks for again. */
async function learnInLine(core: PaymentsCore, asked: Asked, word: Word): Promise<Effect | null> {
  const until = performance.now() + PATIENCE_MS;
  const learn = () => learnOutside(core, asked, (row) => lessonOf(factsOfRow(row), word), null);
  let cause: unknown;
  do {
    try {
      const taken = await core.lateAnswers.run(learn, until);
      if (taken.kind === 'done') return taken.value;
      cause = taken; // the line is full
    } catch (error) {
      cause = error;
    }
  } while (cause instanceof Error && (await mayTryAgain(until)));
  const { orderId: order_id, channel } = asked;
  core.onOddAnswer?.(channel, `unlearnt_${word.kind}`);
  core.logger.error({ order_id, channel, err: cause, word }, 'the word of a bank could not be learnt');
  return null;
}

/** After a pause, unless there is no more time, or too many wait for the same. */
async function mayTryAgain(until: number): Promise<boolean> {
  if (pausing >= MOST_PAUSING || performance.now() + AGAIN_AFTER_MS >= until) return false;
  pausing++;
  await pause(AGAIN_AFTER_MS, undefined, { ref: false });
  pausing--;
  return true;
}

/** As if the lease had still been ours: nothing is odd about the bank. */
function isOrdinary(effect: Effect, { kind }: Word): boolean {
  return effect.kind === 'known' || (effect.kind === 'moved' && effect.to === `${kind}/${kind}`);
}

function effectText(effect: Effect): string {
  switch (effect.kind) {
    case 'moved':
      return `${effect.from} → ${effect.to}`;
    case 'known':
    case 'none':
      return `none (${effect.row.status}/${effect.row.state})`;
    case 'unknown_order':
      return 'none (no such order)';
  }
}
