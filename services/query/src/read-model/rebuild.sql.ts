// Every statement on rebuild, and the swap.
import type { Knex } from '@ballast/database';

export type RebuildState = 'preparing' | 'building' | 'done' | 'cancelled';

export interface RebuildRow {
  readonly id: number;
  readonly state: RebuildState;
  readonly instance: string;
  readonly started_at: string;
  /** Forwarding's number of the replay that was asked for. */
  readonly replay: number | null;
  readonly ended_at: string | null;
  readonly detail: string;
}

const REBUILD = `id, state, instance, rfc3339(started_at) as started_at, replay,
  rfc3339(ended_at) as ended_at, detail`;

/** The last rebuild: the one that runs, or the one that made the present model. Index: the primary key. */
export async function lastRebuild(knex: Knex): Promise<RebuildRow | undefined> {
  const { rows } = await knex.raw(`select ${REBUILD} from rebuild order by id desc limit 1`);
  return rows[0];
}

/** Nothing where one runs already (unique index rebuild_one_at_a_time). */
export async function insertRebuild(knex: Knex, instance: string): Promise<void> {
  await knex.raw(
    `insert into rebuild (state, instance) values ('preparing', ?) on conflict ((true)) where ended_at is null do nothing`,
    [instance],
  );
}

/** From the commit of this on, every delivery goes into both models. */
export async function startBuilding(knex: Knex, id: number): Promise<void> {
  await knex.raw(`update rebuild set state = 'building' where id = ? and state = 'preparing'`, [id]);
}

export async function markReplay(knex: Knex, id: number, replay: number): Promise<void> {
  await knex.raw('update rebuild set replay = ? where id = ? and ended_at is null', [replay, id]);
}

export async function noteDetail(knex: Knex, id: number, detail: string): Promise<void> {
  await knex.raw('update rebuild set detail = ? where id = ? and ended_at is null and detail <> ?', [
    detail,
    id,
    detail,
  ]);
}

/** False: none was running. */
export async function cancelRebuild(knex: Knex): Promise<boolean> {
  const { rows } = await knex.raw(
    `update rebuild set state = 'cancelled', ended_at = clock_timestamp() where ended_at is null returning id`,
  );
  return rows.length === 1;
}

export async function deleteRebuildsBefore(knex: Knex, days: number): Promise<void> {
  await knex.raw(
    `delete from rebuild where ended_at < clock_timestamp() - ? * interval '1 day'
       and id < (select max(id) from rebuild)`,
    [days],
  );
}

export interface Standing {
  /** Orders of the next model that wait for a missing event: at most `MOST_COUNTED`, which says "or more". */
  readonly gaps: number;
  /** Events that are parked in it, and in the present one, whose gaps do not matter any more and may be millions. */
  readonly parked: number;
  readonly parkedInPresent: number;
}

const MOST_COUNTED = 1_000;

/** What stands between the next model and being whole. Indexes: consumer_position_waiting; consumer_parked is small. */
export async function readStanding(knex: Knex): Promise<Standing> {
  const { rows } = await knex.raw(
    `select (select count(*)::int from (
         select from read_model_next.consumer_position where waits_for = 'gap' limit ${MOST_COUNTED}
       ) waiting) as gaps,
       (select count(*)::int from read_model_next.consumer_parked) as parked,
       (select count(*)::int from read_model.consumer_parked) as "parkedInPresent"`,
  );
  return rows[0];
}

const modelTables = ['consumer_position', 'consumer_held', 'consumer_parked', 'merchant_order', 'order_story'];

/**
 * The next model takes the name of the present one. Waits for deliveries under way (ACCESS EXCLUSIVE on both models,
 * positions first as a delivery takes them) and lets none begin; readers wait for the length of a few catalog updates.
 */
export async function swapModels(trx: Knex.Transaction, id: number, detail: string): Promise<boolean> {
  for (const schema of ['read_model', 'read_model_next'])
    for (const table of modelTables) await trx.raw('lock table ?? in access exclusive mode', [`${schema}.${table}`]);
  const { rows } = await trx.raw(
    `update rebuild set state = 'done', ended_at = clock_timestamp(), detail = ?
     where id = ? and state = 'building' returning id`,
    [detail, id],
  );
  if (rows.length === 0) return false;
  await trx.raw('alter schema read_model rename to read_model_old');
  await trx.raw('alter schema read_model_next rename to read_model');
  return true;
}
