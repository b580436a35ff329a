// Merchants' API keys: 32 random bytes, shown once, kept as a hash. The prefix says what it is to whoever finds one, and
// whether it opens live orders or test orders: never both.
import { createHash, randomBytes } from 'node:crypto';
import { type Knex, uuidv7 } from '@ballast/database';
import type { Scope } from '../orders/read-orders.sql.ts';
import { insertKey, type KeyScope, revokeKeyById, selectScope } from './api-keys.sql.ts';

const KEY = /^bk_(live|test)_[A-Za-z0-9_-]{43}$/;

/** Resolves to the key's id and the key itself, which is kept nowhere. */
export async function issueKey(knex: Knex, scope: Scope, name: string): Promise<{ id: string; apiKey: string }> {
  const apiKey = `bk_${scope.livemode ? 'live' : 'test'}_${randomBytes(32).toString('base64url')}`;
  const id = uuidv7(Date.now());
  await insertKey(knex, { ...scope, id, name, hash: hashOf(apiKey) });
  return { id, apiKey };
}

/** From this moment on, on every instance: keys are looked up for each request. */
export async function revokeKey(knex: Knex, id: string): Promise<boolean> {
  return revokeKeyById(knex, id);
}

/** Whose orders a key opens; undefined for anything that is not a live key. */
export async function scopeOf(knex: Knex, apiKey: string): Promise<KeyScope | undefined> {
  return KEY.test(apiKey) ? selectScope(knex, hashOf(apiKey)) : undefined;
}

function hashOf(apiKey: string): Buffer {
  return createHash('sha256').update(apiKey).digest();
}
