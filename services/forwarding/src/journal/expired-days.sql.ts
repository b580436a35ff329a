// Days that the source has let go, or is letting go (collection's workers/expire-days.ts). On plain `pg` connections. A source
// without orders has none.
import type pg from 'pg';

/** The day of this order was let go: its events may be gone, with the order. Index: the primary key. */
export async function isLetGo(client: pg.ClientBase, orderId: string): Promise<boolean> {
  if (!(await hasDays(client))) return false;
  const { rows } = await client.query<{ gone: boolean }>(
    `select exists (select from expired_day
       where day = (uuid_extract_timestamp($1::uuid) at time zone 'UTC')::date) as gone`,
    [orderId],
  );
  return rows[0]?.gone ?? false;
}

/** A day is on its way out: its tables are detached one after the other, and attached again if somebody needs it after all. */
export async function isLettingGo(client: pg.ClientBase): Promise<boolean> {
  if (!(await hasDays(client))) return false;
  const { rows } = await client.query<{ going: boolean }>(
    'select exists (select from expired_day where dropped_at is null) as going',
  );
  return rows[0]?.going ?? false;
}

async function hasDays(client: pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ has: boolean }>(`select to_regclass('expired_day') is not null as has`);
  return rows[0]?.has ?? false;
}
