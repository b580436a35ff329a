import { migrate, openDatabase } from '@ballast/database';

/** Brings the control database up to date; run by whoever starts the system, as the database's owner. */
export async function migrateControl(url: string): Promise<void> {
  const knex = openDatabase({ url, applicationName: 'control migrations', poolMax: 1 });
  try {
    await migrate(knex, new URL('../migrations/', import.meta.url));
  } finally {
    await knex.destroy();
  }
}
