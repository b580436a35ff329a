// Waiting for "something changed", with a limit, so that nobody waits for ever on a word that was missed.
export interface Signal {
  /** Resolves at the next `notify`, or after `limitMs`. */
  wait(limitMs: number): Promise<void>;
  notify(): void;
}

export function openSignal(): Signal {
  let waiting = new Set<() => void>();
  return {
    wait: (limitMs) =>
      new Promise((resolve) => {
        const done = () => {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(done, limitMs);
        waiting.add(done);
      }),
    notify: () => {
      const woken = waiting;
      waiting = new Set();
      for (const done of woken) done();
    },
  };
}
