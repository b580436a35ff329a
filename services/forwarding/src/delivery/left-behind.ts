// A subscriber proves what it is told only if it lacks nothing from before. Once the row of watermarks on its way is broken (its
// database or ours was restored, a forwarder that leads no more delivered late, a route began while the generation was raised),
// nothing that follows proves anything, however long it is delivered: unless another route closes the hole, it is taken back to
// where it says it is. What it has since comes again, and is dropped there.
import type { Progress, Replaced } from '@ballast/contracts';
import { BEFORE_EVERYTHING } from '@ballast/contracts';

export interface LeftBehind {
  onReply(progress: readonly Progress[]): void;
  /** What it said last; undefined: nothing yet, or of another generation. */
  heard(): Progress | undefined;
  /**
   * The time before which it has everything, where that has been less than it was told for too long; undefined: it has not.
   * `told`: the last watermark that it acknowledged.
   */
  since(told: string | null): string | undefined;
  takenBack(): void;
}

export interface LeftBehindOptions {
  readonly source: string;
  readonly generation: number;
  readonly replaced: readonly Replaced[];
  /** Monotonic clock, ms. */
  now(): number;
}

/** Watermarks come once a second, and another route has brought it further by then, or sent it here. */
const PATIENCE_MS = 5_000;
const MOST_PATIENCE_MS = 10 * 60_000;

export function watchProgress({ source, generation, replaced, now }: LeftBehindOptions): LeftBehind {
  let said: Progress | undefined;
  let has: string | undefined;
  let hasSince = now();
  let patienceMs = PATIENCE_MS;

  return {
    onReply: (progress) => {
      if (progress.length === 0) return;
      said = progress.find((one) => one.source === source);
      const next = said === undefined ? undefined : hasBefore(said, generation, replaced);
      if (next === has) return;
      has = next;
      hasSince = now();
      patienceMs = PATIENCE_MS;
    },
    heard: () => (said?.generation === generation ? said : undefined),
    since: (told) => {
      if (has !== undefined && told !== null && has < told) return now() - hasSince > patienceMs ? has : undefined;
      hasSince = now();
      return undefined;
    },
    takenBack: () => {
      hasSince = now();
      patienceMs = Math.min(MOST_PATIENCE_MS, patienceMs * 2);
    },
  };
}

/** Of what an older generation proves there, what both have in common. Undefined: it knows of a newer one than we do. */
function hasBefore(said: Progress, generation: number, replaced: readonly Replaced[]): string | undefined {
  if (said.generation > generation) return undefined;
  if (said.generation === generation) return said.value;
  const between = replaced.filter((one) => one.generation > said.generation).map(({ from }) => from);
  const [least = BEFORE_EVERYTHING] = [said.value, ...(between.length === 0 ? [BEFORE_EVERYTHING] : between)].sort();
  return least;
}
