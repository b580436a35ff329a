// What a benchmark found, a line each: for people with units and verdicts, and as one object for programs.
import type { Checked } from '../checker/check.ts';
import { printChecked } from '../checker/print.ts';

export type Say = (line: string) => void;

export interface BenchFinding {
  /** Its name in the object. */
  readonly key: string;
  readonly value: unknown;
  readonly what: string;
  readonly shown: string;
  readonly asked?: Asked;
}

interface Asked {
  readonly kind: 'promise' | 'target';
  readonly text: string;
  readonly met: boolean;
}

export function found(
  key: string,
  value: unknown,
  [what, shown]: readonly [string, string],
  asked?: Asked,
): BenchFinding {
  return { key, value, what, shown, ...(asked === undefined ? {} : { asked }) };
}

/** Where it is not kept the benchmark has failed. */
export const promise = (text: string, met: boolean): Asked => ({ kind: 'promise', text, met });

/** A busy machine may miss it: it is reported, no more. */
export const target = (text: string, met: boolean): Asked => ({ kind: 'target', text, met });

const WHAT_WIDTH = 30;

/** Prints everything; true: every promise is kept and every invariant holds. */
export function tell(name: string, findings: readonly BenchFinding[], checked: Checked, say: Say): boolean {
  say('');
  say(name);
  for (const { what, shown, asked } of findings) {
    const verdict = asked === undefined ? '' : `   ${asked.kind} ${asked.text}: ${verdictOf(asked)}`;
    say(`  ${what.padEnd(WHAT_WIDTH)} ${shown}${verdict}`);
  }
  say('');
  const invariantsHold = printChecked(checked, say);
  const holds = invariantsHold && findings.every(({ asked }) => asked?.kind !== 'promise' || asked.met);
  if (process.argv.includes('--json')) {
    const invariants = checked.results.map(({ id, evaluated, violations }) => ({
      id,
      evaluated,
      violations: violations.length,
    }));
    const values = Object.fromEntries(findings.map(({ key, value }) => [key, value]));
    const missed = findings.filter(({ asked }) => asked?.met === false).map(({ key }) => key);
    say(JSON.stringify({ bench: name, ...values, missed, invariants, holds }));
  }
  return holds;
}

function verdictOf({ kind, met }: Asked): string {
  if (kind === 'promise') return met ? 'kept' : 'BROKEN';
  return met ? 'met' : 'MISSED';
}
