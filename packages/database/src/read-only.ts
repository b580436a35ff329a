// After a switchover an address leads to the old primary for another moment: a standby now, which answers, and takes
// nothing. A connection that was opened to it then would be healthy for ever, and useless. (One that is open already is no
// trouble: a server cannot become a standby without a restart.)

class ReadOnlyServer extends Error {
  /** What PostgreSQL would say to the first statement: read_only_sql_transaction. */
  readonly code = '25006';

  constructor() {
    super('the server takes no writes: it is a standby, or was made read-only');
    this.name = 'ReadOnlyServer';
  }
}

/** Rejects with ReadOnlyServer when the connection that `run` uses cannot write. */
export async function refuseReadOnly(
  run: (sql: string) => PromiseLike<{ rows: { transaction_read_only: string }[] }>,
): Promise<void> {
  const { rows } = await run('show transaction_read_only');
  if (rows[0]?.transaction_read_only !== 'off') throw new ReadOnlyServer();
}
