// One connection to the control database for a follower: it listens, and it asks. A connection that died without a word
// is noticed by the next question's time limit, so a lost notification costs at most one poll.
import pg from 'pg';

export interface Session {
  query<T extends pg.QueryResultRow>(text: string, values?: readonly unknown[]): Promise<T[]>;
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 1_000;
/** A connection that died without a word is noticed after it; a database this slow cannot be followed within a second. */
const QUERY_TIMEOUT_MS = 350;

/** Resolves when connected and listening. `wake`: the database says that something changed, or the connection ended. */
export async function openSession(url: string, applicationName: string, wake: () => void): Promise<Session> {
  const client = new pg.Client({
    connectionString: url,
    application_name: applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    keepAlive: true,
    options: '-c role=ballast_control_service -c statement_timeout=2000 -c lock_timeout=400',
  });
  client.on('notification', wake);
  client.on('error', wake); // the next question on it fails, and is handled there
  try {
    await client.connect();
    await client.query('listen ballast_control');
  } catch (error) {
    client.end().catch(() => undefined); // never opened, or lost: there is nobody to tell
    throw error;
  }
  return {
    query: async <T extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []) =>
      (await client.query<T>(text, [...values])).rows,
    close: () => client.end(),
  };
}
