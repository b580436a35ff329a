// A refusal of ours is never an outcome of the bank. It says which rule, which version, the numbers it saw, and when to
// come back.

export type RefusalRule = 'deadline' | 'quota' | 'gate' | 'breaker' | 'bulkhead' | 'rate';

export interface Refusal {
  readonly rule: RefusalRule;
  readonly rulesVersion: number;
  readonly reason: string;
  readonly numbers: Readonly<Record<string, number>>;
  /** Null: nobody knows when it ends. */
  readonly retryAfterMs: number | null;
}
