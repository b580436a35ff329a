// The circuit breaker. opossum keeps the rolling window, fed as an observer: we hand out the permits, run the call, and
// report each outcome to it. The state is ours, because opossum's closes on any stale success and half-opens by itself.
//
//   closed     calls pass; their outcomes fill the window. Opens when the window's failure rate reaches its limit.
//   open       calls are refused until `probeAt`. Then the next caller makes it half-open.
//   half-open  at most `probes` calls at once pass. So many successes close it; one failure opens it again, for longer.
//
// Every permit belongs to the state in which it was given (its generation): an outcome from an earlier one is ignored.
import CircuitBreaker from 'opossum';
import type { BreakerRules } from './rules.ts';

export type BreakerState = 'closed' | 'open' | 'half_open';

/** What a caller holds while its call runs; handed back by `report` or `cancel`, once. */
export interface Permit {
  readonly generation: number;
}

type State =
  | { readonly name: 'closed' }
  | { readonly name: 'open'; readonly probeAt: number; readonly openMs: number }
  | { readonly name: 'half_open'; readonly openMs: number; out: number; succeeded: number };

export interface Breaker {
  readonly state: BreakerState;
  /** A permit, or the ms until it is worth asking again. */
  permit(now: number): Permit | number;
  report(permit: Permit, failed: boolean, now: number): void;
  /** The call was never made: nothing was learnt. */
  cancel(permit: Permit): void;
  /** The same answer as `permit` without taking anything; 0: a permit would be given. */
  peek(now: number): number;
  close(): void;
}

const OUTCOME_OK = async (failed: boolean): Promise<void> => {
  if (failed) throw FAILED;
};
const FAILED = new Error('reported failure');
/** While half-open with every probe out, how long a caller should stay away. */
const PROBING_RETRY_MS = 100;

export function createBreaker(rules: BreakerRules, onChange: (state: BreakerState) => void): Breaker {
  let state: State = { name: 'closed' };
  let generation = 0;
  let window = openWindow(rules);

  function enter(next: State): void {
    state = next;
    generation++;
    if (next.name === 'closed') {
      window.shutdown(); // opossum's counts survive closing: a new window, or the old failures open it again
      window = openWindow(rules);
    }
    onChange(next.name);
  }

  function open(now: number, openMs: number): void {
    enter({ name: 'open', probeAt: now + openMs, openMs });
  }

  /** opossum counts a failure in a later turn than it is reported in; the window is judged when it has. */
  function openIfIll(of: number, now: number): void {
    if (of !== generation) return;
    const { failures, successes } = window.stats;
    const calls = failures + successes;
    if (calls >= rules.minimumCalls && failures / calls >= rules.failureRate) open(now, rules.openMs);
  }

  function peek(now: number): number {
    switch (state.name) {
      case 'closed':
        return 0;
      case 'open':
        return Math.max(0, state.probeAt - now);
      case 'half_open':
        return state.out + state.succeeded < rules.probes ? 0 : PROBING_RETRY_MS;
    }
  }

  return {
    get state() {
      return state.name;
    },
    peek,
    permit: (now) => {
      const wait = peek(now);
      if (wait > 0) return wait;
      if (state.name === 'open') enter({ name: 'half_open', openMs: state.openMs, out: 0, succeeded: 0 });
      if (state.name === 'half_open') state.out++;
      return { generation };
    },
    report: (permit, failed, now) => {
      if (permit.generation !== generation) return;
      switch (state.name) {
        case 'closed':
          window.fire(failed).catch(() => openIfIll(permit.generation, now)); // the rejection is the report itself
          return;
        case 'half_open':
          state.out--;
          if (failed) return open(now, Math.min(rules.longestOpenMs, state.openMs * 2));
          state.succeeded++;
          if (state.succeeded >= rules.probes) enter({ name: 'closed' });
          return;
        case 'open':
          throw new Error('BUG: no permit is given while open');
      }
    },
    cancel: (permit) => {
      if (permit.generation === generation && state.name === 'half_open') state.out--;
    },
    close: () => window.shutdown(),
  };
}

/** Only the rolling counts are used: no timeout, no percentiles (they sort all latencies on each failure), no opening. */
function openWindow({ windowMs }: BreakerRules): CircuitBreaker<[boolean], void> {
  return new CircuitBreaker(OUTCOME_OK, {
    timeout: false,
    rollingCountTimeout: windowMs,
    rollingCountBuckets: 10,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
    errorThresholdPercentage: 101,
  });
}
