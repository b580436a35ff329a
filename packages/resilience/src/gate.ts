// The operator's gate, in front of the breaker. It holds until an operator moves it: opossum's own `open()` half-opens by
// itself, and its `disable()` switches off what protects us (docs/facts.md). `reason` is the operator's own words, for whoever
// looks at the channel; a caller, who may be anybody's terminal, is told the mode.
import { inRange, oneOf } from './check-rules.ts';
import { createEveryNth } from './every-nth.ts';
import type { Refusal } from './refusal.ts';

export type Gate =
  /** The breaker decides. */
  | { readonly mode: 'automatic' }
  /** Nothing passes. */
  | { readonly mode: 'forced_open'; readonly reason: string }
  /** This share passes, every nth call; then the breaker decides. */
  | { readonly mode: 'percent_open'; readonly share: number; readonly reason: string }
  /** Everything passes, whatever the breaker says. */
  | { readonly mode: 'forced_closed'; readonly reason: string }
  /** The breaker measures, changes its state and tells what it would have refused, but refuses nothing. */
  | { readonly mode: 'metrics_only'; readonly reason: string }
  /** Nothing new passes; what is in flight ends. */
  | { readonly mode: 'draining'; readonly reason: string };

const modes: readonly string[] = [
  'automatic',
  'forced_open',
  'percent_open',
  'forced_closed',
  'metrics_only',
  'draining',
] satisfies Gate['mode'][];

/** Returns the gate, frozen; throws RangeError naming what is wrong. */
export function checkGate(gate: Gate): Gate {
  oneOf('gate.mode', gate.mode, modes);
  if (gate.mode === 'percent_open') inRange('gate.share', gate.share, 0, 1);
  return Object.freeze(gate);
}

/** Whether an operator can mean to keep calls away with it: such a gate never holds for reversals and inquiries. */
export function keepsCallsAway(gate: Gate): boolean {
  return gate.mode === 'forced_open' || gate.mode === 'percent_open' || gate.mode === 'draining';
}

export interface OperatorGate {
  readonly gate: Gate;
  set(gate: Gate): void;
  /** Null: it lets the call pass. Every caller takes its turn here exactly once, in `peek` when refused or in `pass`. */
  pass(rulesVersion: number): Refusal | null;
  /**
   * What `pass` would say. A refusal under `percent_open` uses the caller's turn up (it goes away and never comes to
   * `pass`), so that exactly the given share of all callers gets through, whether they look first or not.
   */
  peek(rulesVersion: number): Refusal | null;
}

export function createGate(): OperatorGate {
  let gate: Gate = { mode: 'automatic' };
  const passes = createEveryNth();

  function refusal(rulesVersion: number, numbers: Record<string, number>): Refusal {
    return { rule: 'gate', rulesVersion, reason: gate.mode, numbers, retryAfterMs: null };
  }

  function ask(rulesVersion: number, takesPass: boolean): Refusal | null {
    switch (gate.mode) {
      case 'automatic':
      case 'forced_closed':
      case 'metrics_only':
        return null;
      case 'forced_open':
      case 'draining':
        return refusal(rulesVersion, {});
      case 'percent_open': {
        const passesNow = takesPass ? passes.hit(gate.share) : passes.hitLater(gate.share);
        return passesNow ? null : refusal(rulesVersion, { share: gate.share });
      }
    }
  }

  return {
    get gate() {
      return gate;
    },
    set: (next) => {
      gate = checkGate(next);
      passes.reset();
    },
    pass: (rulesVersion) => ask(rulesVersion, true),
    peek: (rulesVersion) => ask(rulesVersion, false),
  };
}
