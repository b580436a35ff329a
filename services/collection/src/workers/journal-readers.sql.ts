// Who reads the journal and how far each is; what a person changes about it. Small tables, by primary key.
import type { Knex } from 'knex';

export interface JournalReader {
  readonly reader: string;
  readonly covered_at: string;
  readonly updated_at: string;
  readonly retired_at: string | null;
}

export async function listReaders(knex: Knex): Promise<JournalReader[]> {
  const { rows } = await knex.raw(
    `select reader, rfc3339(covered_at) as covered_at, rfc3339(updated_at) as updated_at, rfc3339(retired_at) as retired_at
     from journal_reader order by reader`,
  );
  return rows;
}

export interface ReaderChange {
  readonly reader: string;
  readonly author: string;
  readonly reason: string;
}

/** It holds no day any more. With its own row in the audit, in one statement. False: no such reader, or retired already. */
export function retireReader(knex: Knex, change: ReaderChange): Promise<boolean> {
  return changeReader(knex, 'retired', change);
}

/** It holds what it has not read again, of what is still there. False: no such reader, or not retired. */
export function reinstateReader(knex: Knex, change: ReaderChange): Promise<boolean> {
  return changeReader(knex, 'reinstated', change);
}

async function changeReader(knex: Knex, action: 'retired' | 'reinstated', change: ReaderChange): Promise<boolean> {
  const { rowCount } = await knex.raw(
    `with changed as (
       update journal_reader set retired_at = case :action when 'retired' then clock_timestamp() end
       where reader = :reader and (retired_at is null) = (:action = 'retired')
       returning reader, has, covered_at
     )
     insert into journal_reader_change (reader, action, author, reason, has, covered_at)
     select reader, :action, :author, :reason, has, covered_at from changed`,
    { action, ...change },
  );
  return rowCount === 1;
}
