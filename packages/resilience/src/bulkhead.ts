// At most so many calls at once, and a bounded line in front of it from which a caller is dropped at its own deadline.
// A slot is held until the work itself has ended: a timeout that frees the slot while the work goes on turns a capacity
// of 2 into 10 (facts.md).

interface Waiter {
  readonly admit: () => void;
  readonly timer: NodeJS.Timeout;
}

export interface Bulkhead {
  /** True: a slot is held. False: no place, or the deadline (monotonic ms) came first. */
  enter(deadline: number, now: number): boolean | Promise<boolean>;
  leave(): void;
  hasRoom(): boolean;
  readonly inFlight: number;
  readonly waiting: number;
  setLimits(maxInFlight: number, maxWaiting: number): void;
}

export function createBulkhead(initialInFlight: number, initialWaiting: number): Bulkhead {
  let maxInFlight = initialInFlight;
  let maxWaiting = initialWaiting;
  let inFlight = 0;
  const line = new Set<Waiter>();

  function admitNext(): void {
    for (const waiter of line) {
      if (inFlight >= maxInFlight) return;
      line.delete(waiter);
      clearTimeout(waiter.timer);
      inFlight++;
      waiter.admit();
    }
  }

  return {
    get inFlight() {
      return inFlight;
    },
    get waiting() {
      return line.size;
    },
    hasRoom: () => inFlight < maxInFlight || line.size < maxWaiting,
    enter: (deadline, now) => {
      if (inFlight < maxInFlight) {
        inFlight++;
        return true;
      }
      if (line.size >= maxWaiting || deadline <= now) return false;
      return new Promise((resolve) => {
        const waiter: Waiter = {
          admit: () => resolve(true),
          timer: setTimeout(() => {
            line.delete(waiter);
            resolve(false);
          }, deadline - now),
        };
        line.add(waiter);
      });
    },
    leave: () => {
      inFlight--;
      admitNext();
    },
    setLimits: (most, mostWaiting) => {
      maxInFlight = most;
      maxWaiting = mostWaiting;
      admitNext();
    },
  };
}
