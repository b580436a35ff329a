// The baseline where pgbench is missing: the same two statements, each its own transaction, by plain `pg` from this
// process. It shares a core with nothing of ours, but Node costs more than pgbench's C: the ratio flatters us, and the
// report says so.
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { baselineValues, LANE_SETTINGS } from './values.ts';

/** More clients than connections gains nothing on two cores (docs/facts.md). */
const POOL = 16;

export async function runPlainPg(url: string, clients: number, seconds: number): Promise<number> {
  const [accept, learn] = statements();
  if (accept === undefined || learn === undefined) throw new Error('payment.sql does not hold two statements');
  const pool = new pg.Pool({ connectionString: url, max: POOL, options: LANE_SETTINGS });
  const until = performance.now() + seconds * 1_000;
  let done = 0;
  const client = async () => {
    while (performance.now() < until) {
      const values = {
        ...baselineValues,
        terminal: String(randomInt(1, 6)),
        amount: String(randomInt(100, 1_000_000)),
        batch: String(randomInt(100_000, 1_000_000)),
        trace: String(randomInt(100_000, 1_000_000)),
      };
      const { rows } = await pool.query({ ...accept, values: accept.names.map((name) => values[name as never]) });
      const learnt = { ...values, order_id: rows[0]?.order_id };
      await pool.query({ ...learn, values: learn.names.map((name) => learnt[name as never]) });
      done++;
    }
  };
  try {
    await Promise.all(Array.from({ length: clients }, client));
  } finally {
    await pool.end();
  }
  return done / seconds;
}

/** payment.sql without pgbench's own lines, its variables as parameters. */
function statements() {
  const text = readFileSync(new URL('payment.sql', import.meta.url), 'utf8').replace(/^(--|\\set).*$/gm, '');
  return text
    .split(/\\gset|;\s*$/)
    .slice(0, 2)
    .map((statement, index) => {
      const names: string[] = [];
      const numbered = statement.replace(/(?<!:):([a-z_]+)/g, (_, name: string) => {
        if (!names.includes(name)) names.push(name);
        return `$${names.indexOf(name) + 1}`;
      });
      return { name: `baseline_${index}`, text: numbered, names };
    });
}
