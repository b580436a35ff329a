// Who is at the terminal: its key, its merchant and the merchant's routes, read through a bounded cache. An entry is
// served while it is fresh, served and read again beside it while it is stale, and waited for when it is older than that:
// a revoked key is refused everywhere within STALE_MS, and a known terminal never waits for a look-up.
import { createSecretKey, type KeyObject } from 'node:crypto';
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

interface Entry {
  readonly readAt: number;
  readonly known: Promise<KnownKey | undefined>;
  renewing: boolean;
}

export function openDirectory(options: DirectoryOptions): Directory {
  const { knex, keys, channelModes, now = () => performance.now() } = options;
  const entries = new Map<string, Entry>();

  function read(name: string, terminalId: string, keyId: string): Entry {
    const known = findTerminal(knex, terminalId, keyId).then((row) =>
      row === undefined ? undefined : knownKeyOf(row, keyId, keys, channelModes),
    );
    const entry: Entry = { readAt: now(), known, renewing: false };
    known.catch(() => entries.get(name) === entry && entries.delete(name)); // not cached; whoever waits is told
    return entry;
  }

  function keep(name: string, entry: Entry): void {
    entries.delete(name);
    entries.set(name, entry);
    if (entries.size <= MAX_ENTRIES) return;
    for (const oldest of entries.keys()) {
      entries.delete(oldest);
      return;
    }
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
        const entry = read(name, terminalId, keyId);
        keep(name, entry);
        return entry.known;
      }
      if (age > FRESH_MS && !held.renewing) renew(name, held, terminalId, keyId);
      return held.known;
    },
    forget: () => entries.clear(),
  };
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
