// Every statement on card_data_key. Small table, primary key only.
import type { Knex } from 'knex';

export interface DataKeyRow {
  readonly day: string;
  readonly key_sealed: Buffer;
}

/** The first instance to offer a day's key wins; all use what `readDataKeys` then says. */
export async function offerDataKey(knex: Knex, day: string, keySealed: Buffer): Promise<void> {
  await knex.raw('insert into card_data_key (day, key_sealed) values (?, ?) on conflict do nothing', [day, keySealed]);
}

export async function readDataKeys(knex: Knex): Promise<DataKeyRow[]> {
  const { rows } = await knex.raw('select day, key_sealed from card_data_key order by day');
  return rows;
}

/** Guard: the row still holds what was sealed anew. */
export async function replaceDataKey(knex: Knex, day: string, before: Buffer, after: Buffer): Promise<void> {
  await knex.raw('update card_data_key set key_sealed = ? where day = ? and key_sealed = ?', [after, day, before]);
}

/** Erases the card numbers of every day before `day`: without its key nothing of them can be read. */
export async function destroyDataKeysBefore(knex: Knex, day: string): Promise<string[]> {
  const { rows } = await knex.raw('delete from card_data_key where day < ? returning day', [day]);
  return rows.map((row: { day: string }) => row.day);
}
