// The consumer's tables live in the subscriber's database, beside the effects they guard. They have a history table of
// their own, so that the subscriber's migrations and these do not see each other as missing.
import { readdir, readFile } from 'node:fs/promises';
import type { Knex } from 'knex';

const directory = new URL('../migrations/', import.meta.url);
const HISTORY = 'consumer_migrations';

/** Brings the consumer's tables up to date; called at start, beside the subscriber's own migrations. */
export async function migrateConsumer(knex: Knex): Promise<void> {
  const files = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort();
  await knex.migrate.latest({
    tableName: HISTORY,
    migrationSource: {
      getMigrations: async () => files,
      getMigrationName: (file: string) => file,
      getMigration: async (file: string) => ({
        up: async (trx: Knex) => {
          await trx.raw(await readFile(new URL(file, directory), 'utf8'));
        },
        down: async () => {
          throw new Error('migrations go forward only');
        },
      }),
    },
  });
}
