// One channel's switch in the control database, as an operator moves it, and two witnesses of whether it moved: a terminal
// that asks each instance, and the bank's own books.
import { readFileSync } from 'node:fs';
import { type Actor, channelTarget, type Outcome, openControlStore } from '@ballast/control';
import { signInToDemo } from '../../scripts/system/demo-operators.ts';
import { type RunFile, readCredentials } from '../../scripts/system/run-file.ts';
import { cardPayment, createNumbering, createTerminal, type Reply } from '../../scripts/system/terminal.ts';
import type { BookEntry } from '../checker/books.ts';
import type { Instance } from './collections.ts';

/** Opposites: nothing passes, or everything that the breaker lets pass. */
const gates = { shut: { kind: 'forced_open' }, open: { kind: 'percent_open', share: 1 } } as const;
const USUALLY_MS = 600_000;

export interface Flip {
  readonly outcome: Outcome;
  /** From the call until every instance that is connected has said that it applies it. */
  readonly tookMs: number;
  /** The clock of this machine, which is the banks' too. */
  readonly acknowledgedAt: number;
}

export function openSwitch(run: RunFile, channel: string) {
  const store = openControlStore({ url: run.databases.control, stateDir: run.data_dir });

  /** Once, and outside of what is timed. */
  let signedIn: Promise<Actor> | null = null;
  const actor = () => {
    signedIn ??= signInToDemo(store, run, 'bench');
    return signedIn;
  };

  async function timed(change: () => Promise<Outcome>): Promise<Flip> {
    const startedAt = performance.now();
    const outcome = await change();
    return { outcome, tookMs: performance.now() - startedAt, acknowledgedAt: Date.now() };
  }

  const seen = () => store.versionOf(channelTarget(channel));
  return {
    store,
    seen,
    /** `version`: that its author has seen; default: they look first. */
    set: async (
      gate: keyof typeof gates,
      reason: string,
      { lastsMs = USUALLY_MS, version }: { lastsMs?: number; version?: number } = {},
    ) => {
      const by = { by: await actor(), reason, seen: version ?? (await seen()) };
      return timed(() => store.setOverride({ channel, operations: ['pay'], setting: gates[gate], lastsMs }, by));
    },
    /** Back to the breaker alone. */
    end: async (flip: Flip, reason: string) => {
      const { id } = flip.outcome;
      if (id === null) throw new Error('BUG: an override without an id');
      const by = { by: await actor(), reason, seen: await seen() };
      return timed(() => store.endOverride(channel, id, by));
    },
    /** When the override ends, by the database's clock. */
    endsAt: async ({ outcome }: Flip): Promise<number> => {
      const row = (await store.overrides(channel, 10)).find(({ id }) => id === outcome.id);
      if (!(row?.['expires_at'] instanceof Date)) throw new Error(`${channel} has no such override`);
      return row['expires_at'].getTime();
    },
    close: () => store.close(),
  };
}
export type Switch = ReturnType<typeof openSwitch>;

export interface Counter {
  /** One card payment at this instance; null: nobody answered. */
  sell(instance: Instance, deadlineMs?: number): Promise<Reply | null>;
  /** Takes the payment back, by its number. */
  cancel(instance: Instance, sold: Reply): Promise<Reply>;
  look(instance: Instance, orderId: string): Promise<Reply>;
}

/** The first merchant's first terminal, which may use any instance. */
export function openCounter(run: RunFile): Counter {
  const merchant = readCredentials(run).merchants[0];
  const key = merchant?.terminals[0];
  if (merchant === undefined || key === undefined) throw new Error('the demo has a terminal');
  const numbers = createNumbering();
  const at = ({ url }: Instance) => createTerminal({ url, key });
  const sold = new Map<unknown, { batch_number: string; trace_number: string }>();
  let amount = 900_000;
  return {
    sell: async (instance, deadlineMs = 5_000) => {
      const number = numbers();
      const body = cardPayment(number, { amount: amount++, currency: merchant.currencies[0] ?? 'EUR' });
      const reply = await at(instance)
        .pay(body, { deadlineMs })
        .catch(() => null); // an instance that is down
      if (reply !== null) sold.set(reply.json['id'], number);
      return reply;
    },
    cancel: async (instance, reply) => {
      const number = sold.get(reply.json['id']);
      if (number === undefined) throw new Error('BUG: that was not sold here');
      return at(instance).cancel(number);
    },
    look: (instance, orderId) => at(instance).look(orderId),
  };
}

/** Refused by the operator's gate, and said so. */
export function isShut(reply: Reply | null): boolean {
  return reply?.status === 503 && reply.json['code'] === 'channel_refused' && /forced_open/.test(reply.text);
}

export const isApproved = (reply: Reply | null) => reply?.status === 201 && reply.json['status'] === 'approved';

/** What the bank booked, oldest first. */
export function bookedBy(run: RunFile, bank: string): BookEntry[] {
  const file = run.banks[bank]?.books_file;
  if (file === undefined) throw new Error(`there is no ${bank}`);
  const text = readFileSync(file, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1); // the last line may be half written
  return whole.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as BookEntry]));
}

/** By how many ms the bank's last charge between the two flips came after the first was acknowledged; null: none did. */
export function lastChargeAfter(books: readonly BookEntry[], from: number, to: number): number | null {
  const times = books.flatMap(({ kind, at }) => (kind === 'charge' ? [Date.parse(at)] : []));
  const within = times.filter((at) => at > from && at < to);
  return within.length === 0 ? null : Math.max(...within) - from;
}
