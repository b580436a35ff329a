// The audit of the control database: I-33. Its chain is remade here from the rows, and its links are compared with what the
// processes keep on their own disks: each knows the hash of the change it has applied, which nobody can put back into them.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pg from 'pg';
import type { Finding, Invariant } from './invariant.ts';

interface Row {
  readonly seq: string;
  readonly version: string | null;
  readonly previous: Buffer;
  readonly hash: Buffer;
  readonly text: string;
}

interface Kept {
  readonly document: { readonly generation: number; readonly version: number; readonly anchor: string };
}

const PAGE = 1_000;

export function auditIsWhole(): Invariant {
  return {
    id: 'I-33',
    says: 'the audit chain is gapless and verifies; its head is anchored outside the database',
    when: 'always',
    needs: 'control',
    end: async ({ input }, finding) => {
      // First, or a change made meanwhile would be in a copy and not in the snapshot.
      const copies = (input.controlCopies ?? []).map((file) => ({ file, kept: readCopy(file) }));
      const client = new pg.Client(input.control);
      await client.connect();
      try {
        await client.query('begin isolation level repeatable read read only');
        const { rows } = await client.query('select generation, audit_seq, audit_hash from control_head');
        const head = rows[0] as { generation: number; audit_seq: string; audit_hash: Buffer };
        const byVersion = await walk(client, head, finding);
        for (const copy of copies) anchored(copy, head.generation, byVersion, finding);
      } finally {
        await client.end();
      }
    },
  };
}

const readCopy = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Kept;

/** The hash of each row that made a version, hex. */
async function walk(
  client: pg.Client,
  head: { readonly audit_seq: string; readonly audit_hash: Buffer },
  finding: Finding,
): Promise<ReadonlyMap<number, string>> {
  const byVersion = new Map<number, string>();
  let seq = 0;
  let hash: Buffer = Buffer.alloc(0);
  for (;;) {
    const { rows } = await client.query<Row>(
      `select seq, version, previous, hash, jsonb_build_array(seq, extract(epoch from at)::text, outcome, action, target,
         author, reason, seen, version, details)::text as text
       from audit where seq > $1 order by seq limit $2`,
      [seq, PAGE],
    );
    for (const row of rows) {
      finding.evaluated();
      if (Number(row.seq) !== seq + 1) finding.violation(`audit row ${seq + 1} is missing`);
      if (!row.previous.equals(hash)) finding.violation(`audit row ${row.seq} does not follow the one before it`);
      const expected = createHash('sha256').update(row.previous).update(row.text).digest();
      if (!expected.equals(row.hash)) finding.violation(`audit row ${row.seq} was changed after it was written`);
      seq = Number(row.seq);
      hash = row.hash;
      if (row.version !== null) byVersion.set(Number(row.version), row.hash.toString('hex'));
    }
    if (rows.length < PAGE) break;
  }
  if (seq !== Number(head.audit_seq) || !hash.equals(head.audit_hash))
    finding.violation(`the chain ends at row ${seq}, and the head says ${head.audit_seq}`);
  return byVersion;
}

/** After a restore that was declared, what an older generation kept says nothing. */
function anchored(
  { file, kept }: { readonly file: string; readonly kept: Kept },
  generation: number,
  byVersion: ReadonlyMap<number, string>,
  finding: Finding,
): void {
  const { document } = kept;
  if (document.generation !== generation || document.version === 0) return;
  finding.evaluated();
  if (byVersion.get(document.version) !== document.anchor)
    finding.violation(`${file} has applied version ${document.version}, which the audit does not have, or another`);
}
