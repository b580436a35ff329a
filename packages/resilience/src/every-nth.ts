// A share of what comes by, as every nth of it rather than by chance: exact over any number, and the same on every run.

export interface EveryNth {
  /** Counts one; true: it is one of the share. */
  hit(share: number): boolean;
  /** The same answer; counts it only if it is not one of the share. */
  hitLater(share: number): boolean;
  reset(): void;
}

/** Ten times 0.1 is not 1 to a computer. */
const ROUNDING = 1e-9;

export function createEveryNth(): EveryNth {
  /** What is not yet a whole one. */
  let carried = 0;

  function count(share: number, uses: boolean): boolean {
    const next = carried + share;
    const hit = next >= 1 - ROUNDING;
    if (!hit) carried = next;
    else if (uses) carried = next - 1;
    return hit;
  }

  return {
    hit: (share) => count(share, true),
    hitLater: (share) => count(share, false),
    reset: () => {
      carried = 0;
    },
  };
}
