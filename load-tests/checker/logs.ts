// What processes say about themselves: I-34 from their logs, I-27 from logs and metrics.
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Finding, Invariant } from './invariant.ts';

/** In any text: how Node, V8 and PostgreSQL say that something died of a bug or of broken data. */
const DEATH = new RegExp(
  [
    'unhandled ?(promise ?)?rejection',
    'uncaught ?exception',
    'FATAL ERROR: ', // V8: out of memory, and worse
    '^(.*\\s)?PANIC:',
    'AssertionError',
    'data checksum',
    'invalid page in block',
  ].join('|'),
  'i',
);
const OUR_BUG = /\bBUG: /;

/** I-34: no unhandled rejection, no fatal line, no broken assertion of ours. */
export function nothingDiedOfABug(): Invariant {
  return {
    id: 'I-34',
    says: 'no unhandled rejection, no fatal line, no broken assertion in any log',
    when: 'always',
    needs: 'logs',
    end: ({ input }, finding) => eachLine(input.logs, finding, (line) => faultOf(line)),
  };
}

function faultOf(line: string): string | null {
  if (DEATH.test(line) || OUR_BUG.test(line)) return line.slice(0, 300);
  if (!line.startsWith('{')) return null;
  const level = /"level":"?(\w+)"?/.exec(line)?.[1];
  return level === 'fatal' || level === '60' ? line.slice(0, 300) : null;
}

/** I-27: no transaction spans an external call; none on the payment path is longer than one second. */
export function transactionsAreShort(): Invariant {
  return {
    id: 'I-27',
    says: 'no transaction spans an external call; none is longer than 1 s',
    when: 'always',
    needs: 'metrics',
    end: async ({ input }, finding) => {
      for (const text of input.metrics ?? []) countLong(text, finding);
      await eachLine(input.logs, { ...finding, evaluated: () => undefined }, (line) =>
        /ExternalCallInTransaction/.test(line) ? line.slice(0, 300) : null,
      );
    },
  };
}

/** From the cumulative buckets of `ballast_transaction_duration_seconds`. */
function countLong(text: string, finding: Finding): void {
  const series = new Map<string, { within: number; all: number }>();
  for (const [, labels = '', value] of text.matchAll(/^ballast_transaction_duration_seconds_bucket\{(.*)\} (\d+)/gm)) {
    const le = /le="([^"]*)"/.exec(labels)?.[1];
    const key = labels.replace(/,?le="[^"]*"/, '');
    const counts = series.get(key) ?? { within: 0, all: 0 };
    if (le === '1') counts.within = Number(value);
    if (le === '+Inf') counts.all = Number(value);
    series.set(key, counts);
  }
  for (const [labels, { within, all }] of series) {
    finding.evaluated(all);
    if (all > within) finding.violation(`${all - within} transactions longer than 1 s (${labels})`);
  }
}

async function eachLine(files: readonly string[], finding: Finding, fault: (line: string) => string | null) {
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
      finding.evaluated();
      const found = fault(line);
      if (found !== null) finding.violation(`${file.split('/').pop()}: ${found}`);
    }
  }
}
