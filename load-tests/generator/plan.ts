// What the generator is told to do, and what it says afterwards. It is a process of its own (generate.ts); these are the
// messages between it and the benchmark.

export interface GeneratorTerminal {
  readonly merchant_id: string;
  readonly terminal_id: string;
  readonly key_id: string;
  readonly secret: string;
  readonly livemode: boolean;
  readonly currency: string;
}

/** Payments by terminals, or charges straight to a bank (what the bank alone takes). */
export type Target =
  | {
      readonly kind: 'payments';
      readonly url: string;
      /** Further instances of the service: connections are spread evenly over all of them. */
      readonly otherUrls?: readonly string[];
      readonly terminals: readonly GeneratorTerminal[];
      /** `Ballast-Deadline-Ms`. Absent: the service's default. */
      readonly deadlineMs?: number;
    }
  | { readonly kind: 'bank'; readonly url: string };

/** `closed`: each connection sends its next request when it has its answer. `open`: requests come whether or not. */
export type Arrival =
  | { readonly kind: 'closed'; readonly connections: number }
  | { readonly kind: 'open'; readonly perSecond: number; readonly maxConnections: number };

export interface Impatience {
  /** Of each payment, its first sending included. */
  readonly tries: number;
  /** After an answer that is not final; half of it to one and a half times it, at random. */
  readonly pauseMs: number;
}

export interface Plan {
  /** Distinguishes the runs of one benchmark: it is the batch number of its payments. */
  readonly run: number;
  readonly target: Target;
  readonly arrival: Arrival;
  readonly warmupMs: number;
  readonly durationMs: number;
  /** Made and signed before the run; beyond them it signs while it runs. */
  readonly prepare: number;
  /** Terminals that send the very same bytes again until they have a final answer. Absent: they send once. Open runs only. */
  readonly impatience?: Impatience;
  /** Operations are appended here after the run; null: none are kept. */
  readonly historyFile: string | null;
}

export interface RunResult {
  /** Of the measured time, without the warm-up. */
  readonly seconds: number;
  /** Answered as asked for: 201 by the service, 200 by a bank. */
  readonly answered: number;
  readonly perSecond: number;
  /** Milliseconds. In an open run from the moment a request was due, so waiting for a connection counts. */
  readonly latency: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  /** Answers of the whole run by status; 0: no answer. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Answered as asked for over the whole run, with its warm-up. */
  readonly answeredInAll: number;
  /** Answered as asked for in each second since the beginning, the warm-up's first. */
  readonly bySecond: readonly number[];
  /** By status, from the moment a request was sent to its answer; ms. 0: no answer. */
  readonly slowestMs: Readonly<Record<string, number>>;
}

export type ToGenerator = { readonly kind: 'prepare'; readonly plan: Plan } | { readonly kind: 'go' };
export type FromGenerator =
  | { readonly kind: 'prepared' }
  | { readonly kind: 'done'; readonly result: RunResult }
  /** The history is on disk. */
  | { readonly kind: 'written' }
  | { readonly kind: 'failed'; readonly reason: string };
