// Isolation of work inside the process (hashing, signing, parsing a file): so much of it at once, a bounded line, and the
// rest is refused before it can starve everything else.
import { createBulkhead } from './bulkhead.ts';
import { inRange } from './check-rules.ts';
import type { BulkheadRules } from './rules.ts';

export type SemaphoreResult<T> =
  | { readonly kind: 'done'; readonly value: T }
  /** Not begun: no place, or the deadline came first. */
  | {
      readonly kind: 'refused';
      readonly reason: 'no_place' | 'deadline';
      readonly numbers: { readonly in_flight: number; readonly waiting: number };
    };

export interface Semaphore {
  /** Rejects only with what the work itself throws. `deadline`: monotonic ms; work that has begun is not interrupted. */
  run<T>(work: () => T | Promise<T>, deadline: number): Promise<SemaphoreResult<T>>;
  readonly inFlight: number;
  readonly waiting: number;
  setRules(rules: BulkheadRules): void;
}

export function createSemaphore(initial: BulkheadRules, now = () => performance.now()): Semaphore {
  const bulkhead = createBulkhead(checked(initial));

  function refused(reason: 'no_place' | 'deadline'): SemaphoreResult<never> {
    return { kind: 'refused', reason, numbers: { in_flight: bulkhead.inFlight, waiting: bulkhead.waiting } };
  }

  return {
    get inFlight() {
      return bulkhead.inFlight;
    },
    get waiting() {
      return bulkhead.waiting;
    },
    run: async (work, deadline) => {
      const at = now();
      if (deadline <= at) return refused('deadline');
      const place = bulkhead.enter(deadline, at);
      if (place === false) return refused('no_place');
      if (place !== true && !(await place)) return refused('deadline');
      try {
        return { kind: 'done', value: await work() };
      } finally {
        bulkhead.leave();
      }
    },
    setRules: (rules) => bulkhead.setRules(checked(rules)),
  };
}

function checked(rules: BulkheadRules): BulkheadRules {
  inRange('maxInFlight', rules.maxInFlight, 1, 10_000);
  inRange('maxWaiting', rules.maxWaiting, 0, 100_000);
  return rules;
}
