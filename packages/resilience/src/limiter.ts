// The rate token, taken at the wire. A meter says when a call's turn is; this waits for it, or lets bottleneck do the
// pacing where the rules say so.
import { isDeepStrictEqual } from 'node:util';
import { createMeter, factorOf } from './meters.ts';
import { createPacer, type Pacer } from './pacer.ts';
import type { RateRules } from './rules.ts';

/** True: the call may leave. A number: refused, and the ms until it is worth asking again. */
export type Turn = true | number;

export interface Limiter {
  take(now: number, deadline: number): Turn | Promise<Turn>;
  /** For `alarm_only` and for shadow rules: would it have been refused? Nobody waits. 0: no. Otherwise as `Turn`. */
  measure(now: number, deadline: number): number;
  /** The ms a refused caller would be told, 0: it would not be refused. Takes nothing. */
  peek(now: number, deadline: number): number;
  /** Calls that could leave or wait for their turn, now. */
  left(now: number): number;
  readonly rules: RateRules;
  setRules(rules: RateRules): void;
  /** This process's part of the cluster's numbers, 0 to 1; used where the rules' scope is `cluster`. */
  setShare(share: number): void;
  close(): void;
}

export function createLimiter(initial: RateRules, clock: () => number): Limiter {
  const start = clock();
  let rules = initial;
  let share = 1;
  let meter = createMeter(rules.limit);
  let pacer = openPacer();

  function openPacer(): Pacer | null {
    return rules.limit.algorithm === 'paced' ? createPacer(rules.limit.perSecond, rules.limit.maxWaiting, clock) : null;
  }

  const factorAt = (now: number) => factorOf(rules, share, now - start);

  return {
    get rules() {
      return rules;
    },
    take: (now, deadline) => {
      if (pacer !== null) return pacedTurn(pacer, now, deadline, factorAt(now));
      const wait = meter.take(now, factorAt(now), deadline - now);
      if (wait === 0) return true;
      return wait < 0 ? -wait : sleep(wait);
    },
    measure: (now, deadline) => refusedMs(meter.take(now, factorAt(now), deadline - now)),
    peek: (now, deadline) => {
      if (pacer !== null) return pacer.hasRoom() ? 0 : PACER_FULL_RETRY_MS;
      return refusedMs(meter.peek(now, factorAt(now), deadline - now));
    },
    left: (now) => pacer?.left ?? meter.left(now, factorAt(now)),
    setRules: (next) => {
      const sameLimit = isDeepStrictEqual(rules.limit, next.limit);
      rules = next;
      if (sameLimit) return; // what was taken stays taken
      meter = createMeter(rules.limit);
      pacer?.close();
      pacer = openPacer();
    },
    setShare: (next) => {
      share = next;
    },
    close: () => pacer?.close(),
  };
}

/** A full line of a slow pace moves within seconds. */
const PACER_FULL_RETRY_MS = 1_000;

function pacedTurn(pacer: Pacer, now: number, deadline: number, factor: number): number | Promise<Turn> {
  const turn = pacer.turn(deadline, now, factor);
  return turn === false ? PACER_FULL_RETRY_MS : turn.then((admitted) => admitted || PACER_FULL_RETRY_MS);
}

function refusedMs(wait: number): number {
  return wait < 0 ? -wait : 0;
}

/** Never early: a timer of 1.7 ms would fire after 1. */
function sleep(ms: number): Promise<true> {
  return new Promise((resolve) => setTimeout(resolve, Math.ceil(ms), true));
}
