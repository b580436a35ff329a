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

/**
 * It holds no day any more. With its own row in the audit, in one statement. `forced`: also one that was heard of within the
 * hour, and one that is known by nothing but its slot (a tool's, or a forwarder's that may not write here).
 */
export async function retireReader(
  knex: Knex,
  change: ReaderChange & { readonly forced: boolean },
): Promise<'retired' | 'heard of' | 'unknown'> {
  const { rowCount } = await knex.raw(
    `with known as (
       update journal_reader set retired_at = clock_timestamp()
       where reader = :reader and retired_at is null and (:forced or updated_at < clock_timestamp() - interval '1 hour')
       returning reader, has, covered_at
     ), named as (
       insert into journal_reader (reader, has, covered_at, retired_at)
       select :reader, '1:1:', clock_timestamp(), clock_timestamp() from pg_replication_slots
       where :forced and slot_type = 'logical' and database = current_database() and starts_with(:reader, slot_name || '/')
         and not exists (select from journal_reader where starts_with(reader, slot_name || '/'))
       returning reader, has, covered_at
     )
     insert into journal_reader_change (reader, action, author, reason, has, covered_at)
     select reader, 'retired', :author, :reason, has, covered_at from (table known union all table named) r`,
    { ...change },
  );
  if (rowCount === 1) return 'retired';
  const { rows } = await knex.raw('select 1 from journal_reader where reader = ? and retired_at is null', [
    change.reader,
  ]);
  return rows.length === 1 ? 'heard of' : 'unknown';
}

/** It holds what it has not read again, of what is still there. False: no such reader, or not retired. */
export async function reinstateReader(knex: Knex, change: ReaderChange): Promise<boolean> {
  const { rowCount } = await knex.raw(
    `with changed as (
       update journal_reader set retired_at = null where reader = :reader and retired_at is not null
       returning reader, has, covered_at
     )
     insert into journal_reader_change (reader, action, author, reason, has, covered_at)
     select reader, 'reinstated', :author, :reason, has, covered_at from changed`,
    { ...change },
  );
  return rowCount === 1;
}
