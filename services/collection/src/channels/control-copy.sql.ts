// The rules that were applied, in the order database.
import type { KeptCopy } from '@ballast/control';
import type { Knex } from 'knex';

const KEPT = 500;

/** Several instances apply the same version: one row. */
export async function keepControlCopy(knex: Knex, copy: KeptCopy): Promise<void> {
  const { generation, version } = copy.document;
  await knex.raw(
    `insert into control_copy (generation, version, copy) values (?, ?, ?::jsonb)
     on conflict (generation, version) do nothing`,
    [generation, version, JSON.stringify(copy)],
  );
  await knex.raw(
    `delete from control_copy where (generation, version) < (
       select generation, version from control_copy order by generation desc, version desc offset ? limit 1)`,
    [KEPT - 1],
  );
}

/** The latest, not yet judged; undefined: none was ever kept. */
export async function lastControlCopy(knex: Knex): Promise<unknown> {
  const { rows } = await knex.raw('select copy from control_copy order by generation desc, version desc limit 1');
  return rows[0]?.copy;
}
