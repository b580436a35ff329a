// Who is at the terminal: its key, its merchant and the merchant's routes, read through a bounded cache. An entry is
// served while it is fresh, served and read again beside it while it is stale, and waited for when it is older than that:
// a revoked key is refused everywhere within STALE_MS, and a known terminal never waits for a look-up.
import { createSecretKey, type KeyObject } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { Problem } from '@ballast/contracts';
import { type BulkheadRules, createSemaphore } from '@ballast/resilience';
import type { Knex } from 'knex';
import type { MasterKeys } from '../cards/master-keys.ts';
import { findTerminal, type TerminalRow } from './merchants.sql.ts';

export interface TerminalIdentity {
  readonly terminalId: string;
  readonly merchantId: string;
  /** Live or test is a property of the key the terminal signs with. */
  readonly livemode: boolean;
}

export interface Merchant {
  readonly merchantId: string;
  readonly timeZone: string;
  /** Local 'HH:MM'. */
  readonly cutover: string;
  readonly currencies: ReadonlySet<string>;
  readonly voidWindowMs: number;
}

export interface Route {
  readonly channel: string;
  readonly method: 'card' | 'code';
  readonly currency: string | null;
  readonly binPrefix: string | null;
  readonly weight: number;
  /** Our merchant's and terminal's numbers at the bank behind the channel. */
  readonly merchantNumber: string;
  readonly terminalNumber: string;
}

/** A terminal's key with everything its requests need. */
export interface KnownKey {
  readonly terminal: TerminalIdentity;
  readonly merchant: Merchant;
  /** Only those whose channel has the key's livemode. */
  readonly routes: readonly Route[];
  readonly secret: KeyObject;
}

export interface Directory {
  /** Undefined: no such terminal or key, or revoked. */
  find(terminalId: string, keyId: string): Promise<KnownKey | undefined>;
  /** After a change made through this process; other processes follow within STALE_MS. */
  forget(): void;
}

export interface DirectoryOptions {
  readonly knex: Knex;
  readonly keys: MasterKeys;
  /** Channel → livemode. */
  readonly channelModes: ReadonlyMap<string, boolean>;
  readonly now?: () => number;
}

const FRESH_MS = 2_000;
const STALE_MS = 10_000;
/** About 2 kB each. Beyond it the oldest is dropped, so made-up terminal ids cannot fill the memory. */
const MAX_ENTRIES = 20_000;
/** Ids that nobody has: kept apart, so that made-up ones cannot push real terminals out, and not asked for again at once. */
const MAX_UNKNOWN = 2_000;
const UNKNOWN_FRESH_MS = 1_000;
/** Anybody can send an id, before any signature: so many look-ups at once, and a short line, whatever comes in. */
const LOOK_UPS: BulkheadRules = { maxInFlight: 4, maxWaiting: 256 };
/** Well inside the shortest deadline a terminal may ask for: a database that is slow here is told in time. */
const LOOK_UP_LIMIT_MS = 1_500;

interface Entry {
  readonly readAt: number;
  readonly known: Promise<KnownKey | undefined>;
  renewing: boolean;
}

export function openDirectory(options: DirectoryOptions): Directory {
  const { knex, keys, channelModes, now = () => performance.now() } = options;
  const entries = new Map<string, Entry>();
  const unknown = new Map<string, number>();
  const lookUps = createSemaphore(LOOK_UPS, now);

  async function lookUp(terminalId: string, keyId: string): Promise<KnownKey | undefined> {
    const looking = lookUps.run(() => findTerminal(knex, terminalId, keyId), now() + LOOK_UP_LIMIT_MS);
    const result = await beforeLimit(looking, LOOK_UP_LIMIT_MS);
    if (result === null || result.kind === 'refused')
      throw new Problem('overloaded', 'Too many terminals are being looked up; this sending stored nothing.', {
        retryAfterSeconds: 1,
      });
    return result.value === undefined ? undefined : knownKeyOf(result.value, keyId, keys, channelModes);
  }

  function read(name: string, terminalId: string, keyId: string): Entry {
    const known = lookUp(terminalId, keyId);
    const entry: Entry = { readAt: now(), known, renewing: false };
    const forgetEntry = () => entries.get(name) === entry && entries.delete(name);
    known.then((found) => {
      if (found !== undefined) return;
      forgetEntry();
      keepBounded(unknown, name, now(), MAX_UNKNOWN);
    }, forgetEntry); // a failed look-up is not cached; whoever waits is told
    return entry;
  }

  function keep(name: string, entry: Entry): void {
    keepBounded(entries, name, entry, MAX_ENTRIES);
  }

  function renew(name: string, entry: Entry, terminalId: string, keyId: string): void {
    entry.renewing = true;
    const next = read(name, terminalId, keyId);
    next.known.then(
      () => entries.get(name) === entry && keep(name, next),
      () => {
        entry.renewing = false; // the database is away; the entry serves until it is too old
      },
    );
  }

  return {
    find: (terminalId, keyId) => {
      const name = `${terminalId} ${keyId}`;
      const held = entries.get(name);
      const age = held === undefined ? Number.POSITIVE_INFINITY : now() - held.readAt;
      if (held === undefined || age > STALE_MS) {
        if (now() - (unknown.get(name) ?? Number.NEGATIVE_INFINITY) < UNKNOWN_FRESH_MS)
          return Promise.resolve(undefined);
        const entry = read(name, terminalId, keyId);
        keep(name, entry);
        return entry.known;
      }
      if (age > FRESH_MS && !held.renewing) renew(name, held, terminalId, keyId);
      return held.known;
    },
    forget: () => {
      entries.clear();
      unknown.clear();
    },
  };
}

/** Null: it takes longer; what it finds in the end is let go. */
async function beforeLimit<T>(work: Promise<T>, ms: number): Promise<T | null> {
  const limit = new AbortController();
  const late = pause(ms, null, { signal: limit.signal }).catch(() => null); // cancelled below
  try {
    return await Promise.race([work, late]);
  } finally {
    limit.abort();
    work.catch(() => undefined); // it lost the race: whoever waited has been told
  }
}

/** As the newest of at most `most`; the oldest goes. */
function keepBounded<T>(map: Map<string, T>, name: string, value: T, most: number): void {
  map.delete(name);
  map.set(name, value);
  if (map.size <= most) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}

function knownKeyOf(
  row: TerminalRow,
  keyId: string,
  keys: MasterKeys,
  channelModes: ReadonlyMap<string, boolean>,
): KnownKey {
  return {
    terminal: { terminalId: row.terminal_id, merchantId: row.merchant_id, livemode: row.livemode },
    merchant: {
      merchantId: row.merchant_id,
      timeZone: row.time_zone,
      cutover: row.cutover,
      currencies: new Set(row.currencies),
      voidWindowMs: row.void_window_seconds * 1_000,
    },
    routes: row.routes.filter((route) => channelModes.get(route.channel) === row.livemode),
    secret: createSecretKey(keys.open(row.secret_sealed, secretBoundTo(row.terminal_id, keyId))),
  };
}

/** What a sealed terminal secret is bound to. */
export function secretBoundTo(terminalId: string, keyId: string): string {
  return `terminal key ${terminalId} ${keyId}`;
}
