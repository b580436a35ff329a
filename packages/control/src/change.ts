// One change of the control database: checked, made under the head's lock, audited in the same transaction. What is
// refused, loses against another, or fails is audited too, by a transaction of its own.
import { type Knex, withTransaction } from '@ballast/database';
import { type AuditEntry, advanceHead, insertAudit, lockHead } from './control.sql.ts';
import { ChangeRefused, ControlUnavailable, VersionConflict } from './errors.ts';
import type { Unrecorded } from './unrecorded.ts';

/** Who changes, why, and the version of the target that they had seen. */
export interface Change {
  readonly author: string;
  readonly reason: string;
  readonly seen: number;
}

export interface Asked {
  readonly action: string;
  readonly target: string;
  readonly details: Readonly<Record<string, unknown>>;
}

const LONGEST_TEXT = 500;
/** PostgreSQL's own word for "a CHECK of the table does not allow it". */
const CHECK_VIOLATION = '23514';

/** Resolves to the version made. Rejects with ChangeRefused, VersionConflict or ControlUnavailable. */
export async function makeChange(
  knex: Knex,
  unrecorded: Unrecorded,
  asked: Asked,
  change: Change,
  work: (trx: Knex.Transaction, version: number) => Promise<Readonly<Record<string, unknown>>>,
): Promise<{ version: number; made: Readonly<Record<string, unknown>> }> {
  const entry = entryOf(asked, change);
  let committing = false;
  try {
    checkChange(change);
    return await withTransaction(knex, 'control change', async (trx) => {
      const { version: head, current } = await lockHead(trx, asked.target);
      if (current !== change.seen) throw new VersionConflict(asked.target, change.seen, current);
      const version = head + 1;
      const made = await work(trx, version);
      await advanceHead(trx, version);
      await insertAudit(trx, { ...entry, outcome: 'applied', version, details: { ...asked.details, ...made } });
      committing = true;
      return { version, made };
    });
  } catch (error) {
    const why = reasonOf(error, committing);
    await record(knex, unrecorded, {
      ...entry,
      outcome: why instanceof VersionConflict ? 'conflict' : why instanceof ChangeRefused ? 'refused' : 'failed',
      details: { ...asked.details, error: why.message },
    });
    throw why;
  }
}

/** A try that ended without a change. Kept on disk when the database cannot be reached, and recorded later. */
async function record(knex: Knex, unrecorded: Unrecorded, entry: AuditEntry): Promise<void> {
  try {
    await withTransaction(knex, 'control audit', async (trx) => insertAudit(trx, entry));
  } catch (error) {
    unrecorded.keep({ ...entry, details: { ...entry.details, not_recorded: String(error) } });
  }
}

function reasonOf(error: unknown, committing: boolean): Error {
  if (error instanceof ChangeRefused || error instanceof VersionConflict) return error;
  const { code, constraint } = error as { code?: string; constraint?: string };
  if (code === CHECK_VIOLATION) return new ChangeRefused('invalid', `refused by ${constraint ?? 'the database'}`);
  return new ControlUnavailable(committing, error);
}

function checkChange({ author, reason, seen }: Change): void {
  if (reason.trim() === '' || reason.length > LONGEST_TEXT)
    throw new ChangeRefused('reason_required', `a change needs a reason, of 1 to ${LONGEST_TEXT} characters`);
  if (author.trim() === '' || author.length > LONGEST_TEXT)
    throw new ChangeRefused('reason_required', 'a change needs its author');
  if (!Number.isSafeInteger(seen) || seen < 0)
    throw new ChangeRefused('invalid', 'a change names the version of the target that its author has seen');
}

/** PostgreSQL takes neither NUL nor lone surrogates; the audit keeps what was typed otherwise, shortened to its bound. */
function entryOf({ action, target, details }: Asked, { author, reason, seen }: Change): AuditEntry {
  const text = (value: string) => value.replaceAll('\0', '').toWellFormed().slice(0, LONGEST_TEXT);
  return {
    outcome: 'failed',
    action,
    target: text(target),
    author: text(author),
    reason: text(reason),
    seen: Number.isSafeInteger(seen) ? seen : null,
    version: null,
    details: JSON.parse(text(JSON.stringify(details)).length < LONGEST_DETAILS ? JSON.stringify(details) : '{}'),
  };
}

const LONGEST_DETAILS = 20_000;
