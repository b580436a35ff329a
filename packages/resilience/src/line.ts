// A bounded line of callers, first come first served, from which each is dropped at its own deadline.

interface Waiter {
  readonly admit: (admitted: boolean) => void;
  readonly timer: NodeJS.Timeout;
}

/** A timer that is longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface Line {
  readonly length: number;
  /** False: it is full, or the deadline has passed. The promise: true when admitted, false when the deadline came first. */
  wait(deadline: number, now: number, maxWaiting: number): false | Promise<boolean>;
  /** Admits the first; false: nobody waits. */
  admitNext(): boolean;
  /** Turns everybody away. */
  clear(): void;
}

export function createLine(): Line {
  const waiters = new Set<Waiter>();

  function end(waiter: Waiter, admitted: boolean): void {
    waiters.delete(waiter);
    clearTimeout(waiter.timer);
    waiter.admit(admitted);
  }

  return {
    get length() {
      return waiters.size;
    },
    wait: (deadline, now, maxWaiting) => {
      if (waiters.size >= maxWaiting || deadline <= now) return false;
      return new Promise((admit) => {
        const waiter: Waiter = {
          admit,
          timer: setTimeout(() => end(waiter, false), Math.min(LONGEST_TIMER_MS, deadline - now)),
        };
        waiters.add(waiter);
      });
    },
    admitNext: () => {
      for (const first of waiters) {
        end(first, true);
        return true;
      }
      return false;
    },
    clear: () => {
      for (const waiter of waiters) end(waiter, false);
    },
  };
}
