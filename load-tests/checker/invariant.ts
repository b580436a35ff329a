// The shape of an invariant: it is shown every order once, then asked what is left to say.
import type { Books } from './books.ts';
import type { History } from './history.ts';
import type { Story } from './story.ts';

export interface CheckInput {
  /** The order database. */
  readonly orders: string;
  /** The query service's database; without it I-22 and I-23 are left out. */
  readonly query?: string;
  /** The control database; without it I-33 is left out. */
  readonly control?: string;
  /** What the services keep of it on their own disks (control.json). */
  readonly controlCopies?: readonly string[];
  /** One file per bank, named after its channel. */
  readonly books: readonly string[];
  /** What clients saw, in the format of history.ts. */
  readonly histories: readonly string[];
  /** Log files of services and servers. */
  readonly logs: readonly string[];
  /** Nothing is on its way any more: the invariants that hold only then are evaluated too. */
  readonly quiet: boolean;
  /** Texts of /metrics of the services, for the durations of transactions. */
  readonly metrics?: readonly string[];
  /** Attempts that the scenario expects to be with a person. Default: none. */
  readonly expectsPerson?: (attempt: { orderId: string; channel: string; bankReference: string }) => boolean;
  /** Card numbers that were used, searched in every encoding beside what looks like a card number. */
  readonly cards?: readonly string[];
  /** Keys and secrets that must appear nowhere. */
  readonly secrets?: readonly string[];
  /** Files of observeLeases(), for I-05. */
  readonly leases?: readonly string[];
  /** How long after its last send a charge may be booked because the bank itself was slow. */
  readonly longestBankDelayMs?: number;
}

export interface World {
  readonly input: CheckInput;
  readonly books: Books;
  readonly history: History;
  /** `bank/reference` of every attempt seen so far: complete when `end` is called. */
  readonly references: ReadonlySet<string>;
}

export interface Finding {
  evaluated(count?: number): void;
  violation(text: string): void;
}

export interface Invariant {
  readonly id: string;
  readonly says: string;
  /** `always`: at any time. `quiet`: only when nothing is on its way any more. */
  readonly when: 'always' | 'quiet';
  /** What it needs beside the order database; where that is not given it is left out, and said so. */
  readonly needs?: 'books' | 'histories' | 'logs' | 'query' | 'metrics' | 'control';
  each?(story: Story, world: World, finding: Finding): void;
  end?(world: World, finding: Finding): void | Promise<void>;
}

export interface Result {
  readonly id: string;
  readonly says: string;
  readonly evaluated: number;
  /** In words; beyond the first fifty the last entry counts the rest. Empty: it holds. */
  readonly violations: readonly string[];
}
