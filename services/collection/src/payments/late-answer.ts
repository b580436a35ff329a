// An answer that came after its call was abandoned. A late approval is either still in time for the terminal (before
// approve_until the order becomes approved) or it is reversed, whatever the order's state: it never revives what ended.
import type { LateAnswer } from '@ballast/channels';
import { fromBankReference } from './bank-reference.ts';
import type { PaymentsCore } from './core.ts';
import { type Effect, learnOutside } from './learn-outside.ts';
import { lessonOf } from './learnt.ts';
import { type Asked, noteDoubtfulAnswer, noteOddAnswer } from './odd-answers.ts';
import { factsOfRow } from './replay.ts';

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
  try {
    const { outcome } = late;
    noteDoubtfulAnswer(core, late.operation, asked, outcome);
    if (outcome.kind !== 'approved' && outcome.kind !== 'declined') return;
    const effect = await learnOutside(core, asked, (row) => lessonOf(factsOfRow(row), outcome), null);
    noteOddAnswer(core, late.operation, asked, `late_${outcome.kind}`, effectText(effect), outcome.evidence);
  } catch (error) {
    // The resolver asks again by our reference where the order is open; where it is not, the log has the evidence.
    core.logger.error({ order_id: asked.orderId, channel, err: error, late: late.outcome }, 'late answer not learnt');
  }
}

function effectText(effect: Effect): string {
  switch (effect.kind) {
    case 'moved':
      return `${effect.from} → ${effect.to}`;
    case 'none':
      return `none (${effect.row.status}/${effect.row.state})`;
    case 'unknown_order':
      return 'none (no such order)';
  }
}
