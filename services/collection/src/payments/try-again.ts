// A person says: try again. The attempt is reversed anew, with fresh tries; an order in doubt goes to `reversing` by it.
import { Problem, publicId } from '@ballast/contracts';
import type { PaymentsCore } from './core.ts';
import { decided } from './learn-outside.ts';
import { lesson } from './learnt.ts';
import { findMovable, makeMove } from './moves.sql.ts';
import { openCaseOf } from './persons.sql.ts';
import { factsOfRow } from './replay.ts';

/** Rejects with `not_with_person` when nothing of this order is. */
export async function tryAgain(
  core: PaymentsCore,
  { merchantId, orderId, by }: { merchantId: string; orderId: string; by: string },
): Promise<void> {
  const open = await openCaseOf(core.knex, merchantId, orderId);
  if (open === undefined) throw notWithPerson(orderId);
  const row = await findMovable(core.knex, merchantId, orderId, open.attempt_no);
  if (row?.state !== 'needs_person') throw notWithPerson(orderId);
  const move =
    row.status === 'in_doubt'
      ? ({ order: 'reversing', attempt: 'reversing', answer: 'not_completed' } as const)
      : ({ order: row.status, attempt: 'reversing', answer: null } as const);
  const closing = { closedBy: by, action: 'try_again', proof: null };
  const learnt = lesson(factsOfRow(row), 'unwanted', 'tried_again_by_person', null);
  if (!(await makeMove(core.knex, decided(row, open.attempt_no, move, learnt, closing)))) throw notWithPerson(orderId);
}

export function notWithPerson(orderId: string): Problem {
  return new Problem('not_with_person', 'Nothing of this order is with a person now; look at it again.', {
    orderId: publicId('ord', orderId),
  });
}
