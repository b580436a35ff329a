// Card numbers and phones at rest: envelope encryption with one data key a day. The data keys lie in the database, sealed
// under a master key from configuration; destroying a day's data key erases that day's card numbers there. A backup holds
// the data keys of its time: it opens as long as somebody has the master key they were sealed under (docs/runbooks/days.md).
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import type { Knex } from 'knex';
import { destroyDataKeysBefore, offerDataKey, readDataKeys, replaceDataKey } from './data-keys.sql.ts';
import type { MasterKeys } from './master-keys.ts';
import { open, seal } from './sealed.ts';

/** Where a sealed value belongs; it opens nowhere else. */
export interface Place {
  readonly merchantId: string;
  readonly orderId: string;
  readonly field: 'card' | 'phone';
}

export interface CardVault {
  /** Under the data key of the day (UTC, database time) on which it is sealed. */
  seal(plain: string, place: Place): Buffer;
  /** Throws CannotOpen, also when the day's key has been destroyed. */
  open(sealed: Buffer, place: Place): string;
  /** Keyed fingerprint of a card number or payment code. */
  fingerprint(text: string): Buffer;
  /** Makes the keys of the next days, destroys those past retention, seals anew what is under an old master key. */
  runOnce(): Promise<void>;
  close(): void;
}

const DAY_MS = 86_400_000;
const DAYS_AHEAD = 3;
/** A refund is possible for so long after the window for a void, which a merchant's terms keep within a week. */
export const LONGEST_VOID_WINDOW_DAYS = 7;
const INTERVAL_MS = 3_600_000;

export interface VaultOptions {
  readonly knex: Knex;
  readonly keys: MasterKeys;
  /** A card number is of no use to anybody after it. */
  readonly refundWindowDays: number;
  /** Database time, ms. */
  readonly now: () => number;
  readonly onError: (error: unknown) => void;
}

/** Resolves when the keys of today and the next days are at hand. */
export async function openVault({ knex, keys, refundWindowDays, now, onError }: VaultOptions): Promise<CardVault> {
  const keptMs = (refundWindowDays + LONGEST_VOID_WINDOW_DAYS) * DAY_MS;
  let dataKeys = new Map<string, KeyObject>();

  async function runOnce(): Promise<void> {
    const today = now();
    for (let ahead = 0; ahead <= DAYS_AHEAD; ahead++) {
      const day = dayOf(today + ahead * DAY_MS);
      if (!dataKeys.has(day)) await offerDataKey(knex, day, keys.seal(randomBytes(32), boundTo(day)));
    }
    await destroyDataKeysBefore(knex, dayOf(today - keptMs));
    const read = new Map<string, KeyObject>();
    for (const { day, key_sealed: sealed } of await readDataKeys(knex)) {
      const key = keys.open(sealed, boundTo(day));
      read.set(day, createSecretKey(key));
      if (!keys.isCurrent(sealed)) await replaceDataKey(knex, day, sealed, keys.seal(key, boundTo(day)));
    }
    dataKeys = read;
  }

  await runOnce();
  const timer = setInterval(() => void runOnce().catch(onError), INTERVAL_MS);
  timer.unref();
  return {
    seal: (plain, place) => {
      const day = today(now());
      const key = dataKeys.get(day);
      if (key === undefined) throw new Error(`BUG: no data key for ${day}, made ${DAYS_AHEAD} days ahead`);
      return seal(plain, day, key, placeOf(place));
    },
    open: (sealed, place) => open(sealed, (day) => dataKeys.get(day), placeOf(place)).toString('utf8'),
    fingerprint: keys.fingerprint,
    runOnce,
    close: () => clearInterval(timer),
  };
}

let known = { number: Number.NaN, text: '' };

/** `dayOf`, formatted once a day: it is asked twice for each payment. */
function today(ms: number): string {
  const number = Math.floor(ms / DAY_MS);
  if (number !== known.number) known = { number, text: dayOf(ms) };
  return known.text;
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function boundTo(day: string): string {
  return `card data key ${day}`;
}

function placeOf({ merchantId, orderId, field }: Place): string {
  return `${merchantId}\n${orderId}\n${field}`;
}
