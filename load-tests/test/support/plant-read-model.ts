// The query service's read model as it should be, made from the journal by SQL of the tests' own.
import { readdirSync, readFileSync } from 'node:fs';
import type pg from 'pg';

const folders = [
  new URL('../../../services/query/migrations/read-model/', import.meta.url),
  new URL('../../../packages/events/migrations/', import.meta.url),
];

/** Beside the order database's tables, in the schema that the query service gives its model. */
export async function makeReadModel(client: pg.Client): Promise<void> {
  await client.query('create schema read_model');
  await client.query('set search_path to read_model');
  for (const folder of folders)
    for (const file of readdirSync(folder).sort())
      if (file.endsWith('.sql')) await client.query(readFileSync(new URL(file, folder), 'utf8'));
  for (const table of ['merchant_order', 'order_story'])
    await client.query(`create table ${table}_all partition of ${table} for values from (minvalue) to (maxvalue)`);
  await client.query('reset search_path');
}

export async function plantReadModel(client: pg.Client): Promise<void> {
  await client.query('truncate read_model.merchant_order, read_model.order_story, read_model.consumer_position');
  await client.query(
    `insert into read_model.order_story (merchant_id, livemode, order_id, version, generation, type, occurred_at, state)
     select merchant_id, livemode, order_id, version, generation, type, occurred_at, data::json from order_event`,
  );
  await client.query(
    `insert into read_model.merchant_order (merchant_id, livemode, order_id, generation, version, status, amount, currency,
       approved_amount, method, channel, terminal_id, batch_number, trace_number, merchant_reference, card_bin,
       card_last_four, authorization_code, rrn, decline_code, reason, answer, void_requested, business_date, created_at,
       updated_at)
     select distinct on (e.order_id) e.merchant_id, e.livemode, e.order_id, e.generation, e.version, s.status, s.amount,
       s.currency, s.approved_amount, s.method, s.channel, s.terminal_id, s.batch_number, s.trace_number,
       s.merchant_reference, s.card_bin, s.card_last_four, s.attempt->>'authorization_code', s.attempt->>'rrn',
       s.decline_code, s.reason, s.answer, s.void_requested, s.business_date, s.accepted_at, e.occurred_at
     from order_event e, jsonb_to_record(e.data) as s(status text, amount bigint, currency text, approved_amount bigint,
       method text, channel text, terminal_id uuid, batch_number text, trace_number text, merchant_reference text,
       card_bin text, card_last_four text, attempt jsonb, decline_code text, reason text, answer text,
       void_requested boolean, business_date date, accepted_at timestamptz)
     order by e.order_id, e.version desc`,
  );
  await client.query(
    `insert into read_model.consumer_position (order_id, source, merchant_id, generation, version)
     select order_id, 'collection', merchant_id, max(generation), max(version) from order_event group by 1, 3`,
  );
}
