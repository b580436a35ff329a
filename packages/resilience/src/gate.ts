// The operator's gate, in front of the breaker. It holds until an operator moves it: opossum's own `open()` half-opens by
// itself, and its `disable()` switches off what protects us (facts.md).
import type { Refusal } from './refusal.ts';

export type Gate =
  /** The breaker decides. */
  | { readonly mode: 'automatic' }
  /** Nothing passes. */
  | { readonly mode: 'forced_open'; readonly reason: string }
  /** This share passes, chosen at random; then the breaker decides. */
  | { readonly mode: 'percent_open'; readonly share: number; readonly reason: string }
  /** Everything passes, whatever the breaker says. */
  | { readonly mode: 'forced_closed'; readonly reason: string }
  /** Nothing new passes; what is in flight ends. */
  | { readonly mode: 'draining'; readonly reason: string };

/** Null: the gate lets the call pass. `random` is in [0, 1). */
export function refusedByGate(gate: Gate, rulesVersion: number, random: () => number): Refusal | null {
  switch (gate.mode) {
    case 'automatic':
    case 'forced_closed':
      return null;
    case 'forced_open':
    case 'draining':
      return { rule: 'gate', rulesVersion, reason: `${gate.mode}: ${gate.reason}`, numbers: {}, retryAfterMs: null };
    case 'percent_open':
      if (random() < gate.share) return null;
      return {
        rule: 'gate',
        rulesVersion,
        reason: `percent_open: ${gate.reason}`,
        numbers: { share: gate.share },
        retryAfterMs: null,
      };
  }
}
