// Every statement on merchants, routes, terminals and their keys. Small tables, by primary key; none is hot (directory.ts
// caches what payments need).
import type { Knex } from 'knex';
import type { Route } from './directory.ts';

export interface TerminalRow {
  readonly terminal_id: string;
  readonly merchant_id: string;
  readonly livemode: boolean;
  readonly secret_sealed: Buffer;
  readonly time_zone: string;
  readonly cutover: string;
  readonly currencies: string[];
  readonly void_window_seconds: number;
  readonly routes: Route[];
}

const ROUTES = `(select coalesce(json_agg(json_build_object('channel', channel, 'method', method, 'currency', currency,
    'binPrefix', bin_prefix, 'weight', weight, 'merchantNumber', merchant_number, 'terminalNumber', terminal_number)
    order by position), '[]') from merchant_route r where r.merchant_id = m.merchant_id) as routes`;

/** A terminal's unrevoked key with its merchant and routes. */
export async function findTerminal(knex: Knex, terminalId: string, keyId: string): Promise<TerminalRow | undefined> {
  const { rows } = await knex.raw(
    `select t.terminal_id, t.merchant_id, k.livemode, k.secret_sealed, m.time_zone, m.cutover, m.currencies,
       m.void_window_seconds, ${ROUTES}
     from terminal_key k join terminal t using (terminal_id) join merchant m using (merchant_id)
     where k.terminal_id = ? and k.key_id = ? and k.revoked_at is null`,
    [terminalId, keyId],
  );
  return rows[0];
}

export interface MerchantFields {
  readonly merchantId: string;
  readonly name: string;
  readonly timeZone: string;
  readonly cutover: string;
  readonly currencies: readonly string[];
  readonly voidWindowSeconds: number;
}

export async function putMerchant(knex: Knex, merchant: MerchantFields): Promise<void> {
  await knex.raw(
    `insert into merchant (merchant_id, name, time_zone, cutover, currencies, void_window_seconds)
     values (:merchantId, :name, :timeZone, :cutover, :currencies, :voidWindowSeconds)
     on conflict (merchant_id) do update set name = excluded.name, time_zone = excluded.time_zone,
       cutover = excluded.cutover, currencies = excluded.currencies,
       void_window_seconds = excluded.void_window_seconds, updated_at = now()`,
    { ...merchant, currencies: [...merchant.currencies] },
  );
}

export async function listMerchants(knex: Knex, after: string | undefined, limit: number) {
  const { rows } = await knex.raw(
    `select m.merchant_id, m.name, m.time_zone, m.cutover, m.currencies, m.void_window_seconds
     from merchant m where m.merchant_id > coalesce(?::uuid, '00000000-0000-0000-0000-000000000000')
     order by m.merchant_id limit ?`,
    [after ?? null, limit],
  );
  return rows as MerchantRow[];
}

export interface MerchantRow {
  readonly merchant_id: string;
  readonly name: string;
  readonly time_zone: string;
  readonly cutover: string;
  readonly currencies: string[];
  readonly void_window_seconds: number;
}

export async function findMerchant(
  knex: Knex,
  merchantId: string,
): Promise<(MerchantRow & { readonly routes: Route[] }) | undefined> {
  const { rows } = await knex.raw(
    `select m.merchant_id, m.name, m.time_zone, m.cutover, m.currencies, m.void_window_seconds, ${ROUTES}
     from merchant m where m.merchant_id = ?`,
    [merchantId],
  );
  return rows[0];
}

/** All routes of a merchant at once, in the caller's transaction: a reader never sees half of them. */
export async function replaceRoutes(
  trx: Knex.Transaction,
  merchantId: string,
  routes: readonly Route[],
): Promise<void> {
  await trx.raw('delete from merchant_route where merchant_id = ?', [merchantId]);
  await trx.raw(
    `insert into merchant_route (merchant_id, position, channel, method, currency, bin_prefix, weight, merchant_number,
       terminal_number)
     select ?, n, r->>'channel', r->>'method', r->>'currency', r->>'binPrefix', (r->>'weight')::int,
       r->>'merchantNumber', r->>'terminalNumber'
     from json_array_elements(?::json) with ordinality as t(r, n)`,
    [merchantId, JSON.stringify(routes)],
  );
}

/** False: the terminal belongs to another merchant (it never moves: its orders carry its merchant). */
export async function putTerminal(
  knex: Knex,
  terminal: { terminalId: string; merchantId: string; name: string },
): Promise<boolean> {
  const { rows } = await knex.raw(
    `insert into terminal as t (terminal_id, merchant_id, name) values (:terminalId, :merchantId, :name)
     on conflict (terminal_id) do update set name = excluded.name, updated_at = now()
       where t.merchant_id = excluded.merchant_id
     returning terminal_id`,
    terminal,
  );
  return rows.length === 1;
}

/** Locks the terminal's row first, so that two keys made at once cannot become three. */
export async function countKeysLocked(trx: Knex.Transaction, terminalId: string): Promise<number | undefined> {
  const { rows: terminals } = await trx.raw('select 1 from terminal where terminal_id = ? for update', [terminalId]);
  if (terminals.length === 0) return undefined;
  const { rows } = await trx.raw(
    'select count(*)::int as keys from terminal_key where terminal_id = ? and revoked_at is null',
    [terminalId],
  );
  return rows[0].keys;
}

export async function insertKey(
  trx: Knex.Transaction,
  key: { terminalId: string; keyId: string; livemode: boolean; secretSealed: Buffer },
): Promise<void> {
  await trx.raw(
    `insert into terminal_key (terminal_id, key_id, livemode, secret_sealed)
     values (:terminalId, :keyId, :livemode, :secretSealed)`,
    key,
  );
}

/** False: no such key, or revoked before. */
export async function revokeKey(knex: Knex, terminalId: string, keyId: string): Promise<boolean> {
  const { rows } = await knex.raw(
    `update terminal_key set revoked_at = now() where terminal_id = ? and key_id = ? and revoked_at is null
     returning key_id`,
    [terminalId, keyId],
  );
  return rows.length === 1;
}
