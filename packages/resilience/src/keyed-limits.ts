// One limit for each of many (a merchant, a terminal): a meter per key, kept only while it remembers something.
import { isDeepStrictEqual } from 'node:util';
import type { Meter } from './meter.ts';
import { createMeter, factorOf } from './meters.ts';
import type { RateRules } from './rules.ts';

export interface KeyedLimits {
  /** 0: taken. Otherwise the ms until it is worth asking again; nothing is taken. Nobody waits for a turn here. */
  take(key: string, now: number): number;
  peek(key: string, now: number): number;
  /** The call never left. */
  giveBack(key: string, now: number): void;
  readonly size: number;
  readonly rules: RateRules;
  setRules(rules: RateRules): void;
  setShare(share: number): void;
}

/** 10,000 in use at once is far beyond what one process serves; beyond it the longest known are forgotten. */
const MOST_KEYS = 10_000;
/** Room is made for many at once, or each new key would walk through all others. */
const ROOM = 1_000;

export function createKeyedLimits(initial: RateRules, start: number): KeyedLimits {
  let rules = initial;
  let share = 1;
  const meters = new Map<string, Meter>();

  const factorAt = (now: number) => factorOf(rules, share, now - start);

  function makeRoom(now: number): void {
    for (const [key, meter] of meters) if (meter.isIdle(now)) meters.delete(key);
    for (const key of meters.keys()) {
      if (meters.size <= MOST_KEYS - ROOM) return;
      meters.delete(key);
    }
  }

  function meterOf(key: string, now: number): Meter {
    const known = meters.get(key);
    if (known !== undefined) return known;
    if (meters.size >= MOST_KEYS) makeRoom(now);
    const meter = createMeter(rules.limit);
    meters.set(key, meter);
    return meter;
  }

  return {
    get size() {
      return meters.size;
    },
    get rules() {
      return rules;
    },
    take: (key, now) => Math.max(0, -meterOf(key, now).take(now, factorAt(now), Number.POSITIVE_INFINITY)),
    peek: (key, now) => {
      const factor = factorAt(now);
      const known = meters.get(key);
      if (known === undefined && factor > 0) return 0;
      return Math.max(0, -(known ?? createMeter(rules.limit)).peek(now, factor, Number.POSITIVE_INFINITY));
    },
    giveBack: (key, now) => meters.get(key)?.giveBack(factorAt(now)),
    setRules: (next) => {
      const same = isDeepStrictEqual(rules.limit, next.limit);
      rules = next;
      if (!same) meters.clear(); // of the same limit, what was taken stays taken
    },
    setShare: (next) => {
      share = next;
    },
  };
}
