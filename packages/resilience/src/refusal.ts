// A refusal of ours is never an outcome of the bank. It says which rule, which version, the numbers it saw, and when to
// come back.
import type { Layers } from './layers.ts';

export type RefusalRule = 'deadline' | 'quota' | 'gate' | 'breaker' | 'bulkhead' | 'rate';

export interface Refusal {
  readonly rule: RefusalRule;
  readonly rulesVersion: number;
  readonly reason: string;
  readonly numbers: Readonly<Record<string, number>>;
  /** Null: nobody knows when it ends. */
  readonly retryAfterMs: number | null;
}

/** What is in flight ends within a timeout; a full line moves sooner. */
const CROWD_RETRY_MS = 1_000;

export function refusedByDeadline({ rules }: Layers, reason: string, leftMs: number): Refusal {
  return { rule: 'deadline', rulesVersion: rules.version, reason, numbers: { left_ms: leftMs }, retryAfterMs: null };
}

export function refusedByQuota({ rules, share }: Layers, wait: number): Refusal {
  const { perSecond, burst } = rules.quota;
  return {
    rule: 'quota',
    rulesVersion: rules.version,
    reason: 'the consumer has used up its quota',
    numbers: { per_second: perSecond, burst, share },
    retryAfterMs: wait,
  };
}

export function refusedByBreaker({ rules, breaker, now }: Layers, wait: number): Refusal {
  const { calls, failures, slow } = breaker.counts(now());
  return {
    rule: 'breaker',
    rulesVersion: rules.version,
    reason: `the circuit breaker is ${breaker.state}: ${breaker.why}`,
    numbers: { retry_after_ms: Math.ceil(wait), calls, failures, slow },
    retryAfterMs: wait,
  };
}

export function refusedByBulkhead({ rules, bulkhead }: Layers, reason: string): Refusal {
  return {
    rule: 'bulkhead',
    rulesVersion: rules.version,
    reason,
    numbers: {
      in_flight: bulkhead.inFlight,
      max_in_flight: rules.bulkhead.maxInFlight,
      waiting: bulkhead.waiting,
      max_waiting: rules.bulkhead.maxWaiting,
    },
    retryAfterMs: CROWD_RETRY_MS,
  };
}

export function refusedByRate({ rules, share }: Layers, wait: number): Refusal {
  const { algorithm, ...limit } = rules.rate.limit;
  return {
    rule: 'rate',
    rulesVersion: rules.version,
    reason: `the rate limit (${algorithm}) is reached`,
    numbers: { ...snakeCase(limit), share },
    retryAfterMs: wait,
  };
}

/** The rules' own names, in the spelling of every other number that leaves the process. */
function snakeCase(numbers: Readonly<Record<string, number>>): Record<string, number> {
  const entries = Object.entries(numbers);
  return Object.fromEntries(
    entries.map(([name, value]) => [name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]),
  );
}
