import type pg from 'pg';

/**
 * The newest snapshot kept with a watermark of this cluster that sees nothing decided at `value` or later, and the source's time,
 * ms, just after it was taken. Undefined: none is kept of that time. Index: the primary key, backwards.
 */
export async function readSnapshotBefore(
  client: pg.ClientBase,
  value: string,
): Promise<{ readonly text: string; readonly at: number } | undefined> {
  // A run that begins with it says so at the next millisecond (run.ts).
  const { rows } = await client.query<{ text: string; at: number }>(
    `select snapshot::text as text, (extract(epoch from written_at) * 1000)::float8 as at from journal_watermark
     where system = this_system() and written_at <= $1::timestamptz - interval '1 millisecond' order by id desc limit 1`,
    [value],
  );
  return rows[0];
}
