// Pools, transactions and migrations, by knex. Hot statements do not go through its builder: they are SQL in full, by
// `knex.raw` or on a connection of their own (group-commit.ts).
import { readdir, readFile } from 'node:fs/promises';
import knexFactory, { type Knex } from 'knex';
import pg from 'pg';
import { refuseReadOnly } from './read-only.ts';
import { leaveIfGone, leaveWhenSilent } from './silence.ts';

export type { Knex } from 'knex';

const INT8 = 20;
const DATE = 1082;

// bigint is money and counters here: never a float. A date has no time zone: it stays the text PostgreSQL sent.
pg.types.setTypeParser(INT8, (text: string) => BigInt(text));
pg.types.setTypeParser(DATE, (text: string) => text);

export interface DatabaseOptions {
  readonly url: string;
  /** Seen in pg_stat_activity. */
  readonly applicationName: string;
  readonly poolMax: number;
  readonly lockTimeoutMs?: number;
  /** 0: none. A server that says nothing for a second longer is left, and what was asked of it rejects. */
  readonly statementTimeoutMs?: number;
  readonly transactionTimeoutMs?: number;
  /** Further settings of every connection, e.g. `search_path`; no spaces in the values. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** How long a caller waits for a free connection before it is told that there is none. */
const ACQUIRE_TIMEOUT_MS = 3_000;
const CONNECT_TIMEOUT_MS = 3_000;
/** The oldest that is served (checked at start). knex would ask each pool's first connection, before anybody watches it. */
const VERSION = '18';

/** Every failure reaches its caller as a rejection; knex would print it once more, as plain text between JSON log lines. */
const SILENT = { warn: () => undefined, error: () => undefined, deprecate: () => undefined, debug: () => undefined };

/** A pool whose every connection carries the time limits, to a server that takes writes. Connects on first use. */
export function openDatabase(options: DatabaseOptions): Knex {
  const {
    url,
    applicationName,
    poolMax,
    lockTimeoutMs = 500,
    statementTimeoutMs = 5_000,
    transactionTimeoutMs = 5_000,
    settings = {},
  } = options;
  const connectionSettings = {
    lock_timeout: lockTimeoutMs,
    statement_timeout: statementTimeoutMs,
    transaction_timeout: transactionTimeoutMs,
    ...settings,
  };
  return knexFactory({
    client: 'pg',
    version: VERSION,
    connection: {
      connectionString: url,
      application_name: applicationName,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      options: Object.entries(connectionSettings)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
    } as Knex.PgConnectionConfig,
    pool: {
      min: 0,
      max: poolMax,
      afterCreate: afterCreate(statementTimeoutMs),
      validate: (client: pg.Client) => !leaveIfGone(client),
    },
    acquireConnectionTimeout: ACQUIRE_TIMEOUT_MS,
    log: SILENT,
  });
}

/** What each new connection goes through. One that is refused must be closed here: knex keeps no hold of it. */
function afterCreate(statementTimeoutMs: number) {
  return (client: pg.Client, done: (error: unknown) => void): void => {
    leaveWhenSilent(client, statementTimeoutMs);
    refuseReadOnly((text) => client.query(text)).then(
      () => done(null),
      (error: unknown) => {
        client.end().catch(() => undefined); // there is nobody to tell
        done(error);
      },
    );
  };
}

/** Runs every *.sql file of the directory that has not run yet, in name order, each in a transaction of its own. */
export async function migrate(knex: Knex, directory: URL): Promise<void> {
  const files = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort();
  await knex.migrate.latest({
    migrationSource: {
      getMigrations: async () => files,
      getMigrationName: (file: string) => file,
      getMigration: async (file: string) => ({
        up: async (trx: Knex) => {
          await trx.raw(escapeBindings(await readFile(new URL(file, directory), 'utf8')));
        },
        down: async () => {
          throw new Error('migrations go forward only');
        },
      }),
    },
  });
}

/** knex reads `?` as a binding; migrations have none. */
function escapeBindings(sql: string): string {
  return sql.replaceAll('?', '\\?');
}
