// After a switchover an address leads to the old primary for another moment: a standby now, which answers, and takes
// nothing. A connection that was opened to it then would be healthy for ever, and useless. (One that is open already is no
// trouble: a server cannot become a standby without a restart.)
import pg from 'pg';

const READ_ONLY = '25006';

/** Rejects when the connection that `run` uses cannot write, with what PostgreSQL would say to its first writing statement. */
export async function refuseReadOnly(
  run: (sql: string) => PromiseLike<{ rows: { transaction_read_only: string }[] }>,
): Promise<void> {
  const { rows } = await run('show transaction_read_only');
  if (rows[0]?.transaction_read_only === 'off') return;
  const said = 'the server takes no writes: it is a standby, or was made read-only';
  throw Object.assign(new pg.DatabaseError(said, said.length, 'error'), { code: READ_ONLY });
}
