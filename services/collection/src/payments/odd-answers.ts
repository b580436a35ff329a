// Answers that are not what was asked for: another request's reference, another amount, currency, merchant or terminal;
// answers that came late, or contradict what was known. None is dropped: each is counted, alarmed in the log, and kept in
// a bounded table. None is ever in a payment's way.
import type { ChargeOutcome, Evidence, InquiryOutcome, ReversalOutcome } from '@ballast/channels';
import { uuidv7 } from '@ballast/database';
import type { PaymentsCore } from './core.ts';
import { keepOddAnswer } from './persons.sql.ts';

/** Being written at once; beyond it an odd answer is counted and logged only. A bank gone mad must not fill our pool. */
const MOST_WRITING = 20;
let writing = 0;

export interface Asked {
  readonly merchantId: string;
  readonly orderId: string;
  readonly attemptNo: number;
  readonly channel: string;
  readonly bankReference: string;
}

/** An answer that did not fit the question: `in_doubt` with a reason that says in what. */
export function noteDoubtfulAnswer(
  core: PaymentsCore,
  operation: string,
  asked: Asked,
  outcome: ChargeOutcome | InquiryOutcome | ReversalOutcome,
): void {
  if (outcome.kind !== 'in_doubt' || !outcome.reason.startsWith('mismatch_')) return;
  noteOddAnswer(core, operation, asked, outcome.reason, 'none', outcome.evidence);
}

export function noteOddAnswer(
  core: PaymentsCore,
  operation: string,
  asked: Asked,
  kind: string,
  effect: string,
  evidence: Evidence | null,
): void {
  const { merchantId, orderId, attemptNo, channel, bankReference } = asked;
  core.onOddAnswer?.(channel, kind);
  core.logger.warn(
    { order_id: orderId, merchant_id: merchantId, channel, operation, kind, effect, bank_reference: bankReference },
    'odd answer from a bank',
  );
  if (writing >= MOST_WRITING) return;
  writing++;
  keepOddAnswer(core.knex, {
    merchantId,
    oddId: uuidv7(core.clock.now()),
    orderId,
    attemptNo,
    channel,
    operation,
    kind,
    effect,
    bankReference,
    evidence: evidence === null ? null : JSON.stringify(evidence),
  })
    .catch((error: unknown) => core.logger.error({ order_id: orderId, err: error }, 'odd answer could not be kept'))
    .finally(() => {
      writing--;
    });
}
