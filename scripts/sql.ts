// `npm run sql`: a prompt on one of the databases, or one statement given. Reads only, unless --write says otherwise.
import { createInterface } from 'node:readline/promises';
import pg from 'pg';
import { exitCode, readOptions, runCommand, say, UsedWrongly } from './system/command.ts';
import { readRunFile } from './system/run-file.ts';

const usage = 'Usage: npm run sql -- [orders|forwarding|query|control] ["select …"] [--write] [--data DIR]';
const STATEMENT_LIMIT_MS = 30_000;
const MOST_ROWS = 200;
const WIDEST = 60;
const TABLES = `select table_schema as schema, table_name as name, table_type as type from information_schema.tables
  where table_schema not in ('pg_catalog', 'information_schema') and table_name !~ '_p?[0-9]{8}$' order by 1, 2`;

await runCommand(async () => {
  const { dataDir, values, words } = readOptions({ write: { type: 'boolean' } }, usage);
  const { databases } = readRunFile(dataDir);
  const named = words[0] !== undefined && words[0] in databases;
  const name = (named ? words[0] : 'orders') as keyof typeof databases;
  const statement = words.slice(named ? 1 : 0).join(' ');
  if (statement !== '' && !/\s/.test(statement))
    throw new UsedWrongly(`There is no database "${statement}".\n${usage}`);
  const client = new pg.Client({
    connectionString: databases[name],
    application_name: 'ballast sql',
    statement_timeout: STATEMENT_LIMIT_MS,
    options: `-c default_transaction_read_only=${values.write === true ? 'off' : 'on'}`,
    types: { getTypeParser: () => String }, // as PostgreSQL writes it, byte for byte
  });
  await client.connect();
  try {
    if (statement === '') await prompt(client, name);
    else return (await answer(client, statement)) ? exitCode.done : exitCode.checkFailed;
    return exitCode.done;
  } finally {
    await client.end();
  }
});

async function prompt(client: pg.Client, name: string): Promise<void> {
  say(`${name}: statements end with ";", \\d lists tables, \\q leaves.`);
  const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: `${name}=> ` });
  let statement = '';
  lines.prompt();
  for await (const line of lines) {
    if (statement === '' && /^\s*(\\q|exit|quit)\s*$/.test(line)) break;
    if (statement === '' && line.trim() === '\\d') await answer(client, TABLES);
    else if (line.trim() !== '' || statement !== '') statement += `${line}\n`;
    if (statement.trimEnd().endsWith(';')) {
      await answer(client, statement);
      statement = '';
    }
    lines.setPrompt(statement === '' ? `${name}=> ` : `${name}-> `);
    lines.prompt();
  }
  lines.close();
  say('');
}

/** False: PostgreSQL refused it; what it said is shown. */
async function answer(client: pg.Client, statement: string): Promise<boolean> {
  try {
    const started = performance.now();
    const results: unknown = await client.query({ text: statement, rowMode: 'array' });
    for (const result of [results].flat() as pg.QueryArrayResult[]) show(result);
    say(`(${(performance.now() - started).toFixed(1)} ms)`);
    return true;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    say(`ERROR ${error.code}: ${error.message}${error.hint === undefined ? '' : `\nHint: ${error.hint}`}`);
    return false;
  }
}

function show({ fields, rows, command, rowCount }: pg.QueryArrayResult): void {
  if (fields.length === 0) {
    say(`${command}${rowCount === null ? '' : ` ${rowCount}`}`);
    return;
  }
  const shown = rows.slice(0, MOST_ROWS).map((row) => row.map((value) => cell(value)));
  const widths = fields.map(({ name }, i) => Math.max(name.length, ...shown.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((text, i) => text.padEnd(widths[i] ?? 0))
      .join(' | ')
      .trimEnd();
  say(line(fields.map(({ name }) => name)));
  say(widths.map((width) => '-'.repeat(width)).join('-+-'));
  for (const row of shown) say(line(row));
  say(rows.length > MOST_ROWS ? `(${rows.length} rows, the first ${MOST_ROWS} shown)` : `(${rows.length} rows)`);
}

function cell(value: unknown): string {
  const text = value === null ? '∅' : String(value).replaceAll('\n', '⏎');
  return text.length > WIDEST ? `${text.slice(0, WIDEST - 1)}…` : text;
}
