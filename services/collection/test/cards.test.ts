import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { migrate, openDatabase } from '@ballast/database';
import { freshDatabase } from '@ballast/database/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KeysConfig, openMasterKeys } from '../src/cards/master-keys.ts';
import { CannotOpen } from '../src/cards/sealed.ts';
import { openVault } from '../src/cards/vault.ts';

const NUMBER = '4242424242424242';
const place = { merchantId: 'm', orderId: 'o', field: 'card' } as const;
const DAY_MS = 86_400_000;

/** As the runbook has it. */
const [, masterKeysInUse = ''] =
  /npm run sql -- orders "(select distinct 'cards'[^"]+)"/.exec(
    readFileSync(new URL('../../../docs/runbooks/days.md', import.meta.url), 'utf8'),
  ) ?? [];

let db: Awaited<ReturnType<typeof freshDatabase>>;
let knex: ReturnType<typeof openDatabase>;
const key = () => randomBytes(32).toString('base64');
const old: KeysConfig = { current: 'k1', keys: { k1: key() }, fingerprint: key() };

beforeAll(async () => {
  db = await freshDatabase('cards');
  knex = openDatabase({ url: db.url, applicationName: 'test cards', poolMax: 2 });
  await migrate(knex, new URL('../migrations/', import.meta.url));
});
afterAll(async () => {
  await knex.destroy();
  await db.drop();
});

async function vaultAt(ms: number, config = old) {
  const vault = await openVault({
    knex,
    keys: openMasterKeys(config),
    refundWindowDays: 180,
    now: () => ms,
    onError: (error) => expect(error).toBeNull(),
  });
  vault.close();
  return vault;
}

describe('a sealed card number', () => {
  const today = Date.UTC(2026, 10, 24);

  test('opens in its own row and nowhere else', async () => {
    const vault = await vaultAt(today);
    const sealed = vault.seal(NUMBER, place);
    expect(vault.open(sealed, place)).toBe(NUMBER);
    expect(() => vault.open(sealed, { ...place, orderId: 'other' })).toThrow(CannotOpen);
    expect(() => vault.open(sealed, { ...place, field: 'phone' })).toThrow(CannotOpen);
    expect(sealed.includes(NUMBER)).toBe(false);
  });

  test('with any byte changed does not open', async () => {
    const vault = await vaultAt(today);
    const sealed = vault.seal(NUMBER, place);
    for (let i = 0; i < sealed.length; i++) {
      const changed = Buffer.from(sealed);
      changed.writeUInt8((changed.readUInt8(i) ^ 1) & 0xff, i);
      expect(() => vault.open(changed, place)).toThrow(CannotOpen);
    }
  });

  test('opens after the master key was changed, and the data keys are then sealed under the new one', async () => {
    const sealed = (await vaultAt(today)).seal(NUMBER, place);
    const k2 = key();
    const both = { ...old, current: 'k2', keys: { ...old.keys, k2 } };
    expect((await vaultAt(today, both)).open(sealed, place)).toBe(NUMBER);
    expect((await knex.raw(masterKeysInUse)).rows).toEqual([{ what: 'cards', master_key: 'k2' }]);
    const onlyNew = { ...both, keys: { k2 } };
    expect((await vaultAt(today, onlyNew)).open(sealed, place)).toBe(NUMBER);
    await knex.raw('truncate card_data_key');
  });

  test('is erased when its day is past the windows for a void and a refund: its data key is destroyed', async () => {
    const sealed = (await vaultAt(today)).seal(NUMBER, place);
    expect((await vaultAt(today + 187 * DAY_MS)).open(sealed, place)).toBe(NUMBER);
    const later = await vaultAt(today + 188 * DAY_MS);
    expect(() => later.open(sealed, place)).toThrow(CannotOpen);
  });

  test('can be opened by another instance that was started at the same moment', async () => {
    await knex.raw('truncate card_data_key');
    const [one, other] = await Promise.all([vaultAt(today), vaultAt(today)]);
    expect(other.open(one.seal(NUMBER, place), place)).toBe(NUMBER);
  });
});

test('a fingerprint is the same for the same number under the same key only', () => {
  const keys = openMasterKeys(old);
  expect(keys.fingerprint(NUMBER)).toEqual(keys.fingerprint(NUMBER));
  expect(keys.fingerprint(NUMBER)).not.toEqual(openMasterKeys({ ...old, fingerprint: key() }).fingerprint(NUMBER));
});

test.each([
  ['a key of 16 bytes', { ...old, keys: { k1: randomBytes(16).toString('base64') } }],
  ['a current key that is not there', { ...old, current: 'k9' }],
])('%s is refused at start', (_name, config) => {
  expect(() => openMasterKeys(config)).toThrow(RangeError);
});
