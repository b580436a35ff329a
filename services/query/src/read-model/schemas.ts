// The read model lives in a schema of its own, together with the consumer's positions: what was applied and how far are
// one thing. A rebuild makes a second schema with the same migrations, and takes the first one's place by its name.
import { type Knex, migrate, openDatabase } from '@ballast/database';
import { migrateConsumer } from '@ballast/events';

export type ModelSchema = 'read_model' | 'read_model_next';

const serviceMigrations = new URL('../../migrations/', import.meta.url);
const modelMigrations = new URL('../../migrations/read-model/', import.meta.url);

/** Dropping or filling a whole model takes longer than any statement of a delivery. */
const MAINTENANCE_TIMEOUT_MS = 60_000;
/** A page looks at a bounded stretch of one index; what takes longer than this is not worth a connection. */
const READ_TIMEOUT_MS = 2_000;

/** For deliveries into one model, and the service's own small tables. */
export function openModelPool(url: string, schema: ModelSchema): Knex {
  return openDatabase({
    url,
    applicationName: `query ${schema}`,
    poolMax: 4,
    // A plan must not depend on statistics: a week's partition is empty when its first batch is planned (docs/facts.md).
    settings: { search_path: `${schema},public`, enable_seqscan: 'off', jit: 'off' },
  });
}

/**
 * For merchants. A pool of their own: readers cannot take the connections that deliveries need. Plans walk an index in its
 * own order and stop when the page is full; left alone, the planner collects a whole stretch and sorts it for each page.
 */
export function openReadersPool(url: string): Knex {
  return openDatabase({
    url,
    applicationName: 'query readers',
    poolMax: 6,
    statementTimeoutMs: READ_TIMEOUT_MS,
    settings: {
      search_path: 'read_model,public',
      enable_seqscan: 'off',
      enable_bitmapscan: 'off',
      enable_sort: 'off',
      jit: 'off',
    },
  });
}

/** Brings the service's tables and the read model's up to date. */
export async function migrateAll(url: string): Promise<void> {
  await withPool(url, 'public', async (knex) => {
    await migrate(knex, serviceMigrations);
    await knex.raw('create schema if not exists read_model');
  });
  await migrateModel(url, 'read_model');
}

function migrateModel(url: string, schema: ModelSchema): Promise<void> {
  return withPool(url, schema, async (knex) => {
    await migrate(knex, modelMigrations);
    await migrateConsumer(knex);
  });
}

/** An empty second model, whatever was left of an earlier one; the name that the present one gets at the swap is free. */
export async function makeNextModel(url: string): Promise<void> {
  await withPool(url, 'public', async (knex) => {
    await knex.raw('drop schema if exists read_model_old cascade');
    await knex.raw('drop schema if exists read_model_next cascade');
    await knex.raw('create schema read_model_next');
  });
  await migrateModel(url, 'read_model_next');
}

/** What a swap or a cancelled rebuild leaves behind. */
export function dropLeftovers(url: string): Promise<void> {
  return withPool(url, 'public', async (knex) => {
    await knex.raw('drop schema if exists read_model_old cascade');
    await knex.raw(
      `do $$ begin
         if not exists (select 1 from rebuild where ended_at is null) then
           drop schema if exists read_model_next cascade;
         end if;
       end $$`,
    );
  });
}

async function withPool(url: string, searchPath: string, work: (knex: Knex) => Promise<void>): Promise<void> {
  const knex = openDatabase({
    url,
    applicationName: 'query maintenance',
    poolMax: 2,
    lockTimeoutMs: MAINTENANCE_TIMEOUT_MS,
    statementTimeoutMs: MAINTENANCE_TIMEOUT_MS,
    transactionTimeoutMs: MAINTENANCE_TIMEOUT_MS,
    settings: { search_path: searchPath },
  });
  try {
    await work(knex);
  } finally {
    await knex.destroy();
  }
}
