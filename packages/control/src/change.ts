// One change of the control database: checked, made under the head's lock, audited in the same transaction. What is
// refused, loses against another, or fails is audited too, by a transaction of its own.
import { looksLikeCardNumber } from '@ballast/contracts';
import { type Knex, withTransaction } from '@ballast/database';
import { type Actor, assertSignedIn } from './actor.ts';
import { type AuditEntry, advanceHead, insertAudit, lockHead } from './control.sql.ts';
import { ChangeRefused, ControlUnavailable, VersionConflict } from './errors.ts';
import type { Unrecorded } from './unrecorded.ts';

/** Who changes, why, and the version of the target that they had seen. */
export interface Change {
  readonly by: Actor;
  readonly reason: string;
  readonly seen: number;
  /** Alone, where it takes two people or a higher role (who-may.ts): at once, and loud. */
  readonly breakGlass?: boolean;
}

/** As it stands in the audit. */
export interface Signature {
  readonly author: string;
  readonly reason: string;
  readonly seen: number;
}

export function signatureOf({ by, reason, seen }: Change): Signature {
  assertSignedIn(by);
  return { author: by.name, reason, seen };
}

export interface Asked {
  readonly action: string;
  readonly target: string;
  readonly details: Readonly<Record<string, unknown>>;
}

const LONGEST_TEXT = 500;
/** Of what was asked, as JSON; a set of rules is about 1,000. */
const LONGEST_DETAILS = 20_000;
/** PostgreSQL's own word for "a CHECK of the table does not allow it". */
const CHECK_VIOLATION = '23514';

/** Resolves to the version made. Rejects with ChangeRefused, VersionConflict or ControlUnavailable. */
export async function makeChange(
  knex: Knex,
  unrecorded: Unrecorded,
  asked: Asked,
  change: Signature,
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
      await insertAudit(trx, { ...entry, outcome: 'applied', version, details: { ...entry.details, ...made } });
      committing = true;
      return { version, made };
    });
  } catch (error) {
    const why = reasonOf(error, committing);
    const outcome = why instanceof VersionConflict ? 'conflict' : why instanceof ChangeRefused ? 'refused' : 'failed';
    await record(knex, unrecorded, { ...entry, outcome, details: { ...entry.details, error: why.message } }).catch(
      (notKept: unknown) => {
        why.message += `; nor could this try be recorded (${String(notKept)})`;
      },
    );
    throw why;
  }
}

/** A try that ended without a change. Kept on disk when the database cannot be reached, and recorded later. */
export async function record(knex: Knex, unrecorded: Unrecorded, entry: AuditEntry): Promise<void> {
  try {
    await withTransaction(knex, 'control audit', async (trx) => insertAudit(trx, entry));
  } catch (error) {
    unrecorded.keep({ ...entry, details: { ...entry.details, not_audited: String(error) } });
  }
}

function reasonOf(error: unknown, committing: boolean): Error {
  if (error instanceof ChangeRefused || error instanceof VersionConflict) return error;
  const { code, constraint } = error as { code?: string; constraint?: string };
  if (code === CHECK_VIOLATION) return new ChangeRefused('invalid', `refused by ${constraint ?? 'the database'}`);
  return new ControlUnavailable(committing, error);
}

function checkChange({ reason, seen }: Signature): void {
  if (reason.trim() === '' || reason.length > LONGEST_TEXT)
    throw new ChangeRefused('reason_required', `a change needs a reason, of 1 to ${LONGEST_TEXT} characters`);
  if (looksLikeCardNumber(reason)) throw new ChangeRefused('invalid', 'the reason holds what looks like a card number');
  if (!Number.isSafeInteger(seen) || seen < 0)
    throw new ChangeRefused('invalid', 'a change names the version of the target that its author has seen');
}

/** As it was typed, as far as it may be kept (neither NUL nor lone surrogates, and no card number) and within bounds. */
function entryOf({ action, target, details }: Asked, { author, reason, seen }: Signature): AuditEntry {
  return {
    outcome: 'failed',
    action,
    target: storable(target, LONGEST_TEXT),
    author: storable(author, LONGEST_TEXT),
    reason: storable(reason, LONGEST_TEXT),
    seen: Number.isSafeInteger(seen) ? seen : null,
    version: null,
    details: storableDetails(details),
  };
}

export function storable(text: string, longest: number): string {
  if (looksLikeCardNumber(text)) return '[left out: it holds what looks like a card number]'.slice(0, longest);
  return text.replaceAll('\0', '').toWellFormed().slice(0, longest);
}

function storableDetails(details: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const text = JSON.stringify(details, (_key, value: unknown) =>
    typeof value === 'string' ? storable(value, LONGEST_DETAILS) : value,
  );
  return text.length <= LONGEST_DETAILS ? JSON.parse(text) : { left_out: `${text.length} characters` };
}
