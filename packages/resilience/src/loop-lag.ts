// How late the event loop is: what a timer's lateness says about how long everything else waits.

export interface LoopLag {
  /** ms; the worst of the last moments, fading. */
  lagMs(): number;
  close(): void;
}

const LOOK_EVERY_MS = 50;
/** Each look keeps this much of what was seen before: a stall is forgotten to a tenth after half a second. */
const FADE = 0.8;

export function watchLoopLag(): LoopLag {
  let lag = 0;
  let due = performance.now() + LOOK_EVERY_MS;
  const timer = setInterval(() => {
    const now = performance.now();
    lag = Math.max(now - due, lag * FADE, 0);
    due = now + LOOK_EVERY_MS;
  }, LOOK_EVERY_MS);
  timer.unref();
  return {
    // A stall that is going on is not yet in `lag`.
    lagMs: () => Math.max(lag, performance.now() - due),
    close: () => clearInterval(timer),
  };
}
