// The rolling window of a channel's outcomes: opossum as an observer. It is told each outcome and keeps the counts; it
// never runs a call, never judges, never opens. Of its own statistics only the counts are used: with its percentiles on
// it sorts all latencies on every failure and stops the process for seconds (docs/facts.md).
import { EventEmitter } from 'node:events';
import CircuitBreaker from 'opossum';

export interface WindowCounts {
  readonly calls: number;
  readonly failures: number;
  readonly slow: number;
}

export interface OutcomeWindow {
  /** Counted in a later turn of the microtask queue; `onDoubt` is told then, once for all that failed or were slow together. */
  record(failed: boolean, slow: boolean, now: number): void;
  counts(now: number): WindowCounts;
  close(): void;
}

const BUCKETS = 10;
/** The longest timer there is. With `allowWarmUp` opossum only counts; without it, every failure makes it add up the window. */
const FOR_EVER_MS = 2 ** 31 - 1;
const FAILED = new Error('reported failure');

async function outcome(failed: boolean): Promise<void> {
  if (failed) throw FAILED;
}

export function openWindow(windowMs: number, start: number, onDoubt: () => void): OutcomeWindow {
  const bucketMs = windowMs / BUCKETS;
  // Buckets turn by our clock when somebody looks, not by a timer: a virtual clock moves them too.
  const rotation = new EventEmitter();
  const observer = new CircuitBreaker(outcome, {
    timeout: false,
    errorThresholdPercentage: 101,
    allowWarmUp: true,
    rollingCountTimeout: FOR_EVER_MS,
    rollingCountBuckets: BUCKETS,
    rotateBucketController: rotation,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
  });
  const slow = new Array<number>(BUCKETS).fill(0);
  let rotated = start;
  let doubtful = false;
  let closed = false;

  function rotate(now: number): void {
    if (now - rotated < bucketMs) return;
    const turns = Math.floor((now - rotated) / bucketMs);
    rotated += turns * bucketMs;
    for (let turn = 0; turn < Math.min(turns, BUCKETS); turn++) {
      rotation.emit('rotate');
      slow.pop();
      slow.unshift(0);
    }
  }

  function judgeSoon(): void {
    if (doubtful) return;
    doubtful = true;
    queueMicrotask(() => {
      doubtful = false;
      onDoubt();
    });
  }

  return {
    record: (failed, isSlow, now) => {
      if (closed) return; // a call that ended after its policy was closed
      rotate(now);
      if (isSlow) slow[0] = (slow[0] ?? 0) + 1;
      const told = observer.fire(failed);
      if (failed)
        told.catch(judgeSoon); // the rejection is the report itself
      else if (isSlow) void told.then(judgeSoon);
    },
    counts: (now) => {
      rotate(now);
      const { failures, successes } = observer.stats;
      return { calls: failures + successes, failures, slow: slow.reduce((sum, count) => sum + count, 0) };
    },
    close: () => {
      closed = true;
      observer.shutdown();
    },
  };
}
