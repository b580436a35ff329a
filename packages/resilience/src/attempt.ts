// One admitted call: its timeout, its own AbortController (made only when the call asks for the signal), and whatever comes
// of it, also after it was abandoned.
import type { Fault } from './drill.ts';

/** What a call says about the channel's health. A bank's decline is a success of the channel. */
export type Verdict<T> =
  | { readonly kind: 'success'; readonly value: T }
  | { readonly kind: 'technical'; readonly value: T }
  /** Technical trouble, and provably nothing left for the bank. */
  | { readonly kind: 'not_sent'; readonly value: T };

export interface CallContext {
  /** Aborted when the call is abandoned. */
  readonly signal: AbortSignal;
  /** Monotonic ms: the call is abandoned then. */
  readonly deadline: number;
  /** A drill's fault, to be done at the wire; null: none. */
  readonly fault: Fault | null;
  /** To be asked in the turn of the write: false when an operator has shut the gate since the call was admitted. */
  readonly maySend: () => boolean;
}

export type Call<T> = (context: CallContext) => Promise<Verdict<T>>;

export type AttemptOutcome = Verdict<unknown>['kind'] | 'timeout' | 'error';

export type Ended<T> =
  | { readonly kind: 'answered'; readonly verdict: Verdict<T> }
  | { readonly kind: 'abandoned'; readonly reason: 'timeout' | 'error'; readonly error: unknown };

export interface AttemptListener {
  /** Once, when the caller gets its result. */
  ended(outcome: AttemptOutcome, durationMs: number): void;
  /** Once, when the work itself has ended, also long after it was abandoned: only now is its slot free. */
  left(): void;
  /** Its result, if it was abandoned before. */
  late(value: unknown, error: unknown, durationMs: number): void;
}

class Context implements CallContext {
  readonly deadline: number;
  readonly fault: Fault | null;
  readonly maySend: () => boolean;
  #controller: AbortController | null = null;
  #aborted = false;

  constructor(deadline: number, fault: Fault | null, maySend: () => boolean) {
    this.deadline = deadline;
    this.fault = fault;
    this.maySend = maySend;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#aborted) this.#controller.abort();
    return this.#controller.signal;
  }

  abort(): void {
    this.#aborted = true;
    this.#controller?.abort();
  }
}

export function attempt<T>(
  call: Call<T>,
  until: number,
  fault: Fault | null,
  maySend: () => boolean,
  clock: () => number,
  listener: AttemptListener,
): Promise<Ended<T>> {
  const started = clock();
  const context = new Context(until, fault, maySend);
  return new Promise((resolve) => {
    let abandoned = false;
    const timer = setTimeout(
      () => {
        abandoned = true;
        listener.ended('timeout', clock() - started);
        resolve({ kind: 'abandoned', reason: 'timeout', error: null });
        context.abort();
      },
      Math.max(0, until - started),
    );

    function onVerdict(verdict: Verdict<T>): void {
      clearTimeout(timer);
      listener.left();
      if (abandoned) {
        listener.late(verdict.value, null, clock() - started);
      } else {
        listener.ended(verdict.kind, clock() - started);
        resolve({ kind: 'answered', verdict });
      }
    }

    function onError(error: unknown): void {
      clearTimeout(timer);
      listener.left();
      if (abandoned) {
        listener.late(null, error, clock() - started);
      } else {
        listener.ended('error', clock() - started);
        resolve({ kind: 'abandoned', reason: 'error', error });
      }
    }

    start(call, context).then(onVerdict, onError);
  });
}

/** A call that throws before its first await is a rejection like any other. */
function start<T>(call: Call<T>, context: CallContext): Promise<Verdict<T>> {
  try {
    return call(context);
  } catch (error) {
    return Promise.reject(error);
  }
}
