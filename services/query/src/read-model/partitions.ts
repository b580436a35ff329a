// Week partitions of the read model. A UUIDv7 begins with its time in milliseconds, so a week is a range of order ids.
// A week, not a day as in the order database: a list walks partitions backwards, and planning over 60 costs a few
// milliseconds where 400 would cost 30. Made when an event needs them (a rebuild begins a year back) and dropped whole
// when every order in them is past the retention.
import type { Knex } from '@ballast/database';

const tables = ['merchant_order', 'order_story'] as const;
export const WEEK_MS = 7 * 86_400_000;
/** Ids may run ahead of our clock by the source's ten minutes; anything beyond a week of it is not an order's id. */
const AHEAD_MS = WEEK_MS;
/** Any constant of our own: one connection makes partitions at a time. */
const ADVISORY_LOCK = 7_301_002;

export interface Partitions {
  /** Makes what these orders need; resolves to the oldest time (ms) that is still kept. Throws for an id from the future. */
  cover(orderIds: Iterable<string>): Promise<number>;
  /** Drops the weeks past the retention; resolves to the names dropped. */
  dropExpired(): Promise<string[]>;
}

/** `knex`: a pool on the read model's schema. `now`: ms. */
export function openPartitions(knex: Knex, retentionDays: number, now: () => number): Partitions {
  const made = new Set<number>();
  const keptSince = () => weekOf(now() - retentionDays * 86_400_000);

  async function cover(orderIds: Iterable<string>): Promise<number> {
    const oldest = keptSince();
    for (const week of weeksOf(orderIds)) {
      if (week < oldest || made.has(week)) continue;
      if (week > now() + AHEAD_MS)
        throw new Error(`an order id from ${new Date(week).toISOString()} is not an id of ours`);
      for (const table of tables) await makePartition(knex, table, week);
      made.add(week);
    }
    return oldest;
  }

  async function dropExpired(): Promise<string[]> {
    const oldest = keptSince();
    const dropped: string[] = [];
    for (const table of tables) {
      for (const name of await partitionsOf(knex, table)) {
        if (startOf(name) >= oldest) continue;
        await knex.raw('drop table ??', [name]);
        dropped.push(name);
      }
    }
    for (const week of made) if (week < oldest) made.delete(week);
    return dropped;
  }

  return { cover, dropExpired };
}

/** The milliseconds that a UUIDv7 begins with. */
export function timeOf(orderId: string): number {
  return Number.parseInt(orderId.slice(0, 8) + orderId.slice(9, 13), 16);
}

/** The least UUID of a millisecond. */
export function lowestIdAt(ms: number): string {
  const hex = Math.max(0, ms).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

function weekOf(ms: number): number {
  return Math.floor(ms / WEEK_MS) * WEEK_MS;
}

function weeksOf(orderIds: Iterable<string>): Set<number> {
  const weeks = new Set<number>();
  for (const id of orderIds) weeks.add(weekOf(timeOf(id)));
  return weeks;
}

/** Attaching takes SHARE UPDATE EXCLUSIVE on the parent: deliveries and readers go on. */
async function makePartition(knex: Knex, table: (typeof tables)[number], week: number): Promise<void> {
  const name = `${table}_${new Date(week).toISOString().slice(0, 10).replaceAll('-', '')}`;
  if (await isAttached(knex, name)) return;
  await knex.transaction(async (trx) => {
    await trx.raw('select pg_advisory_xact_lock(?)', [ADVISORY_LOCK]);
    if (await isAttached(trx, name)) return;
    await trx.raw('create table ?? (like ?? including defaults including constraints)', [name, table]);
    // An order's later events update its row, often in the very next batch: with room for a second version of each row on
    // its page, 95 of 100 updates touch no index; at 70 % half of them did.
    if (table === 'merchant_order') await trx.raw('alter table ?? set (fillfactor = 50)', [name]);
    await trx.raw(
      `alter table ?? attach partition ?? for values from ('${lowestIdAt(week)}') to ('${lowestIdAt(week + WEEK_MS)}')`,
      [table, name],
    );
  });
}

async function isAttached(knex: Knex, name: string): Promise<boolean> {
  const { rows } = await knex.raw('select 1 from pg_class where oid = to_regclass(?) and relispartition', [name]);
  return rows.length > 0;
}

async function partitionsOf(knex: Knex, table: string): Promise<string[]> {
  const { rows } = await knex.raw(
    `select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = to_regclass(?) order by c.relname`,
    [table],
  );
  return rows.map((row: { relname: string }) => row.relname);
}

function startOf(partition: string): number {
  const day = partition.slice(-8);
  return Date.parse(`${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}T00:00:00Z`);
}
