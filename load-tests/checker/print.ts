// The checker's result as a table for people.
import type { Checked } from './check.ts';

const VIOLATIONS_SHOWN = 5;

/** True: every invariant that was evaluated holds. */
export function printChecked({ results, skipped }: Checked, say: (line: string) => void): boolean {
  const width = Math.max(...results.map(({ evaluated }) => String(evaluated).length), 'evaluated'.length);
  say(`id    ${'evaluated'.padStart(width)}  violations`);
  for (const { id, evaluated, violations, says } of results) {
    const verdict = violations.length === 0 ? 'none' : `${violations.length} ✗`;
    say(`${id}  ${String(evaluated).padStart(width)}  ${verdict.padEnd(10)}  ${says}`);
    for (const text of violations.slice(0, VIOLATIONS_SHOWN)) say(`      ✗ ${text}`);
    if (violations.length > VIOLATIONS_SHOWN) say(`      … and ${violations.length - VIOLATIONS_SHOWN} more`);
  }
  for (const { id, why } of skipped) say(`${id}  left out: ${why}`);
  return results.every(({ violations }) => violations.length === 0);
}
