// The circuit breaker. The window of outcomes is opossum's (window.ts); the permits and the state are ours, because
// opossum's closes on any stale success, half-opens by itself, and knows one probe.
//
//   closed      calls pass; their outcomes fill the window. Opens when failures or slow calls reach their share of it.
//   open        calls are refused until `probeAt`. Then the next caller makes it half-open.
//   half-open   at most `probes` calls at once pass, each on a lease. So many successes end it; one failure (a slow call is
//               one) opens it again, for longer.
//   recovering  the window is new, and calls at once grow from the number of probes to the bulkhead's. It opens as when
//               closed, for longer; when the ramp is over it is closed.
//
// Every permit belongs to the state in which it was given (its generation): an outcome from an earlier one is ignored.
import type { BreakerRules } from './rules.ts';
import { openWindow, type WindowCounts } from './window.ts';

export type BreakerState = 'closed' | 'open' | 'half_open' | 'recovering';

/** What a caller holds while its call runs; handed back by `report` or `cancel`, once. */
export interface Permit {
  readonly generation: number;
  /** Half-open only: after this the probe no longer counts, whatever it says. */
  readonly leaseUntil: number;
}

export interface BreakerChange {
  readonly from: BreakerState;
  readonly to: BreakerState;
  readonly why: string;
  readonly numbers: Readonly<Record<string, number>>;
}

type State =
  | { readonly name: 'closed' }
  | { readonly name: 'open'; probeAt: number; readonly openMs: number; readonly why: string }
  | { readonly name: 'half_open'; readonly openMs: number; readonly leases: Set<Permit>; succeeded: number }
  | { readonly name: 'recovering'; readonly openMs: number; readonly since: number; out: number };

export interface Breaker {
  readonly state: BreakerState;
  /** Why it is open, for the refusal. */
  readonly why: string;
  /** A permit, or the ms until it is worth asking again. */
  permit(now: number): Permit | number;
  report(permit: Permit, failed: boolean, durationMs: number, now: number): void;
  /** The call was never made: nothing was learnt. */
  cancel(permit: Permit): void;
  /** The same answer as `permit` without taking anything; 0: a permit would be given. */
  peek(now: number): number;
  /** Whether a report on it would still count. */
  isCurrent(permit: Permit, now: number): boolean;
  counts(now: number): WindowCounts;
  /** An operator's "probe now" and "close now" (which still ramps up). */
  probeNow(now: number): void;
  closeNow(now: number): void;
  setRules(rules: BreakerRules, now: number): void;
  close(): void;
}

export interface BreakerOptions {
  readonly rules: BreakerRules;
  /** Calls at once when all is well: where the recovery ramp ends. */
  readonly maxInFlight: () => number;
  readonly now: () => number;
  readonly onChange: (change: BreakerChange) => void;
}

/** While half-open or recovering with every place taken, how long a caller should stay away. */
const BUSY_RETRY_MS = 100;

export function createBreaker(options: BreakerOptions): Breaker {
  const { maxInFlight, now: clock, onChange } = options;
  let rules = options.rules;
  let state: State = { name: 'closed' };
  let generation = 0;
  let window = newWindow(clock());

  function newWindow(now: number) {
    const born = generation;
    return openWindow(rules.windowMs, now, () => {
      if (born === generation) openIfIll(clock());
    });
  }

  function enter(next: State, why: string, numbers: Record<string, number> = {}): void {
    const from = state.name;
    state = next;
    onChange({ from, to: next.name, why, numbers });
  }

  /** A new generation: what was given out before no longer counts, and neither do the window's old failures. */
  function enterAnew(next: State, now: number, why: string, numbers: Record<string, number> = {}): void {
    generation++;
    if (next.name === 'recovering' || next.name === 'closed') {
      window.close();
      window = newWindow(now);
    }
    enter(next, why, numbers);
  }

  function open(now: number, openMs: number, why: string, numbers: Record<string, number>): void {
    enterAnew({ name: 'open', probeAt: now + openMs, openMs, why }, now, why, { ...numbers, open_ms: openMs });
  }

  const longer = (openMs: number) => Math.min(rules.longestOpenMs, openMs * rules.openGrowth);

  function openIfIll(now: number): void {
    if (state.name !== 'closed' && state.name !== 'recovering') return;
    const { calls, failures, slow } = window.counts(now);
    if (calls < rules.minimumCalls) return;
    const failed = failures / calls >= rules.failureRate;
    if (!failed && slow / calls < rules.slowRate) return;
    const why = failed ? `${failures} of ${calls} calls failed` : `${slow} of ${calls} calls were slow`;
    open(now, state.name === 'recovering' ? longer(state.openMs) : rules.openMs, why, { calls, failures, slow });
  }

  /** Grows by a constant factor in equal times: most of the way is spent at numbers that a weak bank can carry. */
  function rampLimit(since: number, now: number): number {
    const progress = Math.min(1, (now - since) / rules.rampMs);
    return Math.floor(rules.probes * Math.max(1, maxInFlight() / rules.probes) ** progress + 1e-9);
  }

  function endRamp(now: number): void {
    if (state.name === 'recovering' && now - state.since >= rules.rampMs) enter({ name: 'closed' }, 'recovered');
  }

  function liveLeases(leases: Set<Permit>, now: number): number {
    for (const lease of leases) if (lease.leaseUntil <= now) leases.delete(lease);
    return leases.size;
  }

  function peek(now: number): number {
    switch (state.name) {
      case 'closed':
        return 0;
      case 'open':
        return Math.max(0, state.probeAt - now);
      case 'half_open':
        return liveLeases(state.leases, now) + state.succeeded < rules.probes ? 0 : BUSY_RETRY_MS;
      case 'recovering':
        return now - state.since >= rules.rampMs || state.out < rampLimit(state.since, now) ? 0 : BUSY_RETRY_MS;
    }
  }

  function permit(now: number): Permit | number {
    endRamp(now);
    const wait = peek(now);
    if (wait > 0) return wait;
    if (state.name === 'open')
      enterAnew({ name: 'half_open', openMs: state.openMs, leases: new Set(), succeeded: 0 }, now, 'time to probe');
    const leaseUntil = state.name === 'half_open' ? now + rules.probeLeaseMs : Number.POSITIVE_INFINITY;
    const given = { generation, leaseUntil };
    if (state.name === 'half_open') state.leases.add(given);
    if (state.name === 'recovering') state.out++;
    return given;
  }

  function report(of: Permit, failed: boolean, durationMs: number, now: number): void {
    if (of.generation !== generation) return;
    const slow = durationMs >= rules.slowMs;
    switch (state.name) {
      case 'closed':
        window.record(failed, slow, now);
        return;
      case 'recovering':
        state.out--;
        window.record(failed, slow, now);
        return;
      case 'half_open':
        if (!state.leases.delete(of) || of.leaseUntil <= now) return;
        if (failed || slow) {
          open(now, longer(state.openMs), `a probe ${failed ? 'failed' : 'was slow'}`, { duration_ms: durationMs });
          return;
        }
        state.succeeded++;
        if (state.succeeded >= rules.probes) recover(now, state.openMs, `${state.succeeded} probes succeeded`);
        return;
      case 'open':
        throw new Error('BUG: no permit is given while open');
    }
  }

  function recover(now: number, openMs: number, why: string): void {
    enterAnew(rules.rampMs === 0 ? { name: 'closed' } : { name: 'recovering', openMs, since: now, out: 0 }, now, why);
  }

  return {
    get state() {
      return state.name;
    },
    get why() {
      return state.name === 'open' ? state.why : state.name;
    },
    permit,
    report,
    peek,
    isCurrent: (of, now) => of.generation === generation && of.leaseUntil > now,
    cancel: (of) => {
      if (of.generation !== generation) return;
      if (state.name === 'half_open') state.leases.delete(of);
      if (state.name === 'recovering') state.out--;
    },
    counts: (now) => window.counts(now),
    probeNow: (now) => {
      if (state.name === 'open') state.probeAt = now;
    },
    closeNow: (now) => {
      if (state.name === 'open' || state.name === 'half_open') recover(now, state.openMs, 'closed by an operator');
    },
    setRules: (next, now) => {
      const sameWindow = next.windowMs === rules.windowMs;
      rules = next;
      if (sameWindow) return;
      window.close();
      window = newWindow(now);
    },
    close: () => window.close(),
  };
}
