// Events a second, over the last few whole seconds.
const SECONDS = 10;

export interface Rate {
  add(count: number): void;
  perSecond(): number;
}

export function openRate(): Rate {
  const counts = new Array<number>(SECONDS + 1).fill(0);
  let second = Math.floor(performance.now() / 1_000);

  function turn(): void {
    const now = Math.floor(performance.now() / 1_000);
    for (let passed = Math.min(now - second, counts.length); passed > 0; passed--)
      counts[(now - passed + 1) % counts.length] = 0;
    second = now;
  }

  return {
    add: (count) => {
      turn();
      counts[second % counts.length] = (counts[second % counts.length] ?? 0) + count;
    },
    perSecond: () => {
      turn();
      const running = counts[second % counts.length] ?? 0; // its second is not over
      return (counts.reduce((sum, count) => sum + count, 0) - running) / SECONDS;
    },
  };
}
