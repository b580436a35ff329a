// Every statement on api_key.
import type { Knex } from '@ballast/database';
import type { Scope } from '../orders/read-orders.sql.ts';

export interface NewKey extends Scope {
  readonly id: string;
  readonly name: string;
  readonly hash: Buffer;
}

export async function insertKey(knex: Knex, key: NewKey): Promise<void> {
  await knex.raw('insert into api_key (id, merchant_id, livemode, name, key_hash) values (?, ?, ?, ?, ?)', [
    key.id,
    key.merchantId,
    key.livemode,
    key.name,
    key.hash,
  ]);
}

/** False: there is no such key, or it is revoked already. */
export async function revokeKeyById(knex: Knex, id: string): Promise<boolean> {
  const { rows } = await knex.raw(
    'update api_key set revoked_at = clock_timestamp() where id = ? and revoked_at is null returning id',
    [id],
  );
  return rows.length === 1;
}

export interface KeyScope extends Scope {
  /** A rebuild is running: what merchants read is whole, but may be as old as its replay is long. */
  readonly rebuilding: boolean;
}

/** Whose key it is. Indexes: unique (key_hash), rebuild_one_at_a_time. */
export async function selectScope(knex: Knex, hash: Buffer): Promise<KeyScope | undefined> {
  const { rows } = await knex.raw(
    `select merchant_id as "merchantId", livemode, exists (select 1 from rebuild where ended_at is null) as rebuilding
     from api_key where key_hash = ? and revoked_at is null`,
    [hash],
  );
  return rows[0];
}

export async function deleteKeysRevokedBefore(knex: Knex, days: number): Promise<void> {
  await knex.raw(`delete from api_key where revoked_at < clock_timestamp() - ? * interval '1 day'`, [days]);
}
