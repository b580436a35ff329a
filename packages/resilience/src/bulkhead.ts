// At most so many calls at once, and a bounded line in front of it. A slot is held until the work itself has ended: a
// timeout that frees the slot while the work goes on turns a capacity of 2 into 10 (docs/facts.md).
import { createLine } from './line.ts';
import type { BulkheadRules } from './rules.ts';

export interface Bulkhead {
  /** True: a slot is held. False: no place. The promise: false when the deadline (monotonic ms) came first. */
  enter(deadline: number, now: number): boolean | Promise<boolean>;
  leave(): void;
  hasRoom(): boolean;
  readonly inFlight: number;
  readonly waiting: number;
  setRules(rules: BulkheadRules): void;
}

export function createBulkhead(initial: BulkheadRules): Bulkhead {
  let rules = initial;
  let inFlight = 0;
  const line = createLine();

  function admitWaiting(): void {
    while (inFlight < rules.maxInFlight && line.admitNext()) inFlight++;
  }

  return {
    get inFlight() {
      return inFlight;
    },
    get waiting() {
      return line.length;
    },
    hasRoom: () => inFlight < rules.maxInFlight || line.length < rules.maxWaiting,
    enter: (deadline, now) => {
      if (inFlight >= rules.maxInFlight) return line.wait(deadline, now, rules.maxWaiting);
      inFlight++;
      return true;
    },
    leave: () => {
      inFlight--;
      admitWaiting();
    },
    setRules: (next) => {
      rules = next;
      admitWaiting();
    },
  };
}
