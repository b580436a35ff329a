// Tells the source how far each of its readers is, so that it keeps every day that one of them has not read whole
// (collection's workers/expire-days.ts). What a feed has kept is the proof: everything visible in that snapshot was stored by
// its subscriber. It goes back as well, to nothing when the whole journal is wanted again: the source then keeps all it has.
//
// A word that could not be given only makes the source keep more. Forwarding does not stop for it.
import type { Logger } from '@ballast/telemetry';
import type pg from 'pg';
import type { PgSnapshot } from '../source/pg-snapshot.ts';
import type { Warnings } from '../warnings.ts';

interface Reader {
  readonly subscriber: string;
  /** Everything visible in it was delivered; `at`: source's clock, ms. */
  kept(): { readonly snapshot: PgSnapshot; readonly at: number };
}

export interface TellOptions {
  readonly client: pg.ClientBase;
  /** Names the readers together with their own name: two forwarders may serve subscribers of the same name. */
  readonly slot: string;
  readonly readers: () => readonly Reader[];
  readonly logger: Logger;
  readonly warnings: Pick<Warnings, 'set'>;
}

const COMPLAIN_EVERY_MS = 600_000;

/** One word at a time; never rejects. */
export function openTelling({ client, slot, readers, logger, warnings }: TellOptions): () => Promise<void> {
  let complainedAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const positions = readers().map((reader) => ({ reader: `${slot}/${reader.subscriber}`, ...reader.kept() }));
    try {
      const retired = await storePositions(client, positions);
      const why = `nothing is kept any more for ${retired.join(', ')}: a person retired it, and it is still delivered to`;
      warnings.set('reader_retired', retired.length === 0 ? null : why);
    } catch (error) {
      if (performance.now() - complainedAt < COMPLAIN_EVERY_MS) return;
      complainedAt = performance.now();
      const reason = error instanceof Error ? error.message : String(error);
      logger.warn({ reason }, 'the source could not be told how far its readers are; it keeps its old days');
    }
  };
}

/** Resolves to those that a person has retired, which is theirs to change. Index: the primary key. */
async function storePositions(
  client: pg.ClientBase,
  positions: readonly { readonly reader: string; readonly snapshot: PgSnapshot; readonly at: number }[],
): Promise<string[]> {
  const { rows } = await client.query<{ reader: string; retired: boolean }>(
    `insert into journal_reader as r (reader, has, covered_at)
     select reader, has::pg_snapshot, to_timestamp(at / 1000)
     from unnest($1::text[], $2::text[], $3::float8[]) as t(reader, has, at)
     on conflict (reader) do update set has = excluded.has, system = excluded.system, covered_at = excluded.covered_at,
       updated_at = clock_timestamp()
     returning reader, retired_at is not null as retired`,
    [
      positions.map(({ reader }) => reader),
      positions.map(({ snapshot }) => snapshot.text),
      positions.map(({ at }) => at),
    ],
  );
  return rows.filter(({ retired }) => retired).map(({ reader }) => reader);
}
