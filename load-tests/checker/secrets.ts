// No card number, key or secret in any artefact: I-30. Before it believes its eyes it looks at planted numbers.
import { createReadStream } from 'node:fs';
import { findSecrets, type Needle, needlesOf, planted } from './card-numbers.ts';
import type { CheckInput, Finding, Invariant } from './invariant.ts';
import { openReader } from './read-orders.ts';

/** Published test numbers: what demo, benches and tests pay with. */
const TEST_CARDS = [
  '4242424242424242',
  '4000000000000002',
  '5555555555554444',
  '2223003122003222',
  '378282246310005',
  '6011111111111117',
];
/** Rows of a table are all alike: this many, evenly spread, are read of each. */
const ROWS_OF_A_TABLE = 20_000;
const CHUNK = 4 << 20;
/** Longer than any form of any needle, so that nothing hides on the border between two chunks. */
const OVERLAP = 1_024;

export function nothingLeaks(): Invariant {
  return {
    id: 'I-30',
    says: 'no card number, key or secret in logs, databases, books or histories; planted ones are found first',
    when: 'always',
    end: async ({ input }, finding) => {
      const cards = [...TEST_CARDS, ...(input.cards ?? [])];
      const needles = [...needlesOf(cards, 'card'), ...needlesOf(input.secrets ?? [], 'secret')];
      for (const blind of blindSpots(needles)) finding.violation(`the scanner is blind to ${blind}`);
      for (const file of [...input.logs, ...input.books, ...input.histories]) await scanFile(file, needles, finding);
      for (const url of databasesOf(input)) await scanDatabase(url, needles, finding);
    },
  };
}

function databasesOf({ orders, query }: CheckInput): string[] {
  return query === undefined ? [orders] : [orders, query];
}

/** The planted forms that are not found; a number in use and one that is not, known only by its shape. */
function blindSpots(needles: readonly Needle[]): string[] {
  const known = Object.entries(planted('4242424242424242'));
  // Base64 is searched for known numbers only: decoding every word of a text finds too much that is none.
  const unknown = Object.entries(planted('4539578763621486')).filter(([how]) => !/base64|in hex/.test(how));
  return [...known, ...unknown]
    .filter(([, text]) => findSecrets(`x ${text} y`, needles).length === 0)
    .map(([how]) => how);
}

async function scanFile(file: string, needles: readonly Needle[], finding: Finding): Promise<void> {
  let tail = '';
  for await (const chunk of createReadStream(file, { encoding: 'latin1', highWaterMark: CHUNK })) {
    const text: string = tail + chunk;
    for (const found of findSecrets(text, needles)) finding.violation(`${file.split('/').pop()} holds ${found}`);
    finding.evaluated();
    tail = text.slice(-OVERLAP);
  }
}

/** Every table of ours, as text; bytea comes as hex, which the scanner reads. */
async function scanDatabase(url: string, needles: readonly Needle[], finding: Finding): Promise<void> {
  const client = await openReader(url);
  try {
    const { rows: tables } = await client.query<{ name: string; rows: number }>(
      `select c.oid::regclass::text as name, greatest(c.reltuples, 0)::float8 as rows from pg_class c
       where c.relkind = 'r' and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
       order by 1`,
    );
    for (const { name, rows } of tables) {
      const share =
        rows <= ROWS_OF_A_TABLE ? '' : `tablesample system (${((100 * ROWS_OF_A_TABLE) / rows).toFixed(4)})`;
      const result = await client.query<{ line: string }>(`select t::text as line from ${name} t ${share}`);
      finding.evaluated(result.rows.length);
      const text = result.rows.map((row) => row.line).join('\n');
      for (const found of findSecrets(text, needles)) finding.violation(`table ${name} holds ${found}`);
    }
  } finally {
    await client.end();
  }
}
