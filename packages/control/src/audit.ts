// The audit's chain, verified from its first row: each hash is remade from the row's text and the hash before it.
import { createHash } from 'node:crypto';
import type { Knex } from '@ballast/database';
import { auditHeadSql, chainSql } from './reads.sql.ts';

export interface AuditReport {
  readonly rows: number;
  /** Hash of the last row, hex: write it down outside the database, and hand it in next time as the anchor. */
  readonly head: string;
  /** Null: the chain is whole. Else what is wrong first. */
  readonly broken: string | null;
}

const PAGE = 1_000;

/** `anchor`: a head that an earlier look reported, `<seq>:<hash>`; the chain must still contain it. */
export async function verifyAudit(knex: Knex, anchor?: string): Promise<AuditReport> {
  let seq = 0;
  let hash = '';
  let anchored = anchor === undefined || anchor === '0:';
  for (;;) {
    const { rows } = await knex.raw(chainSql, [seq, PAGE]);
    for (const row of rows as { seq: number; previous: string; hash: string; text: string }[]) {
      const broken = fault(row, seq, hash);
      if (broken !== null) return { rows: seq, head: `${seq}:${hash}`, broken };
      ({ seq, hash } = row);
      anchored ||= `${seq}:${hash}` === anchor;
    }
    if (rows.length < PAGE) break;
  }
  const head = (await knex.raw(auditHeadSql)).rows[0] as { seq: number; hash: string };
  // The head may have moved on meanwhile; it is never behind the last row.
  const truncated = head.seq < seq || (head.seq === seq && head.hash !== hash);
  const missing = head.seq > seq && !(await grewMeanwhile(knex, seq));
  const broken =
    truncated || missing
      ? `the chain ends at ${seq}, and the head says ${head.seq}: rows at its end are missing`
      : anchored
        ? null
        : `the anchor ${anchor} is not in the chain: it was rewritten or cut off`;
  return { rows: seq, head: `${seq}:${hash}`, broken };
}

function fault(row: { seq: number; previous: string; hash: string; text: string }, seq: number, hash: string) {
  if (row.seq !== seq + 1) return `row ${seq + 1} is missing`;
  if (row.previous !== hash) return `row ${row.seq} does not follow row ${seq}`;
  const expected = createHash('sha256').update(Buffer.from(row.previous, 'hex')).update(row.text).digest('hex');
  return expected === row.hash ? null : `row ${row.seq} was changed after it was written`;
}

async function grewMeanwhile(knex: Knex, seq: number): Promise<boolean> {
  const { rows } = await knex.raw(chainSql, [seq, 1]);
  return rows.length > 0;
}
