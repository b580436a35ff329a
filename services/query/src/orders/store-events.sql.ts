// Every statement on the read model of orders. No statement names a schema: the pool's search path says which model.

import type { OrderEvent } from '@ballast/contracts';
import { type ArrayType, arrayParameter, type Knex } from '@ballast/database';
import type { Fork } from '@ballast/events';

type Columns = readonly (readonly [
  column: string,
  type: ArrayType,
  value: (event: OrderEvent) => unknown,
  as?: string,
])[];

const orderKey = ['merchant_id', 'livemode', 'order_id'];

/** A row is what its order's last event says. */
const orderColumns: Columns = [
  ['merchant_id', 'uuid', (e) => e.merchant_id],
  ['livemode', 'boolean', (e) => e.livemode],
  ['order_id', 'uuid', (e) => e.order_id],
  ['generation', 'integer', (e) => e.generation],
  ['version', 'integer', (e) => e.version],
  ['status', 'text', (e) => e.data.status],
  ['amount', 'bigint', (e) => e.data.amount],
  ['currency', 'text', (e) => e.data.currency],
  ['approved_amount', 'bigint', (e) => e.data.approved_amount],
  ['method', 'text', (e) => e.data.method],
  ['channel', 'text', (e) => e.data.channel],
  ['terminal_id', 'uuid', (e) => e.data.terminal_id],
  ['batch_number', 'text', (e) => e.data.batch_number],
  ['trace_number', 'text', (e) => e.data.trace_number],
  ['merchant_reference', 'text', (e) => e.data.merchant_reference],
  ['card_bin', 'text', (e) => e.data.card_bin],
  ['card_last_four', 'text', (e) => e.data.card_last_four],
  ['authorization_code', 'text', (e) => e.data.attempt?.authorization_code ?? null],
  ['rrn', 'text', (e) => e.data.attempt?.rrn ?? null],
  ['decline_code', 'text', (e) => e.data.decline_code],
  ['reason', 'text', (e) => e.data.reason],
  ['answer', 'text', (e) => e.data.answer],
  ['void_requested', 'boolean', (e) => e.data.void_requested],
  ['business_date', 'text', (e) => e.data.business_date, 'date'],
  ['created_at', 'timestamptz', (e) => e.data.accepted_at],
  ['updated_at', 'timestamptz', (e) => e.occurred_at],
];

const storyColumns: Columns = [
  ['merchant_id', 'uuid', (e) => e.merchant_id],
  ['livemode', 'boolean', (e) => e.livemode],
  ['order_id', 'uuid', (e) => e.order_id],
  ['version', 'integer', (e) => e.version],
  ['generation', 'integer', (e) => e.generation],
  ['type', 'text', (e) => e.type],
  ['occurred_at', 'timestamptz', (e) => e.occurred_at],
  ['state', 'text', (e) => JSON.stringify(e.data), 'json'],
];

/**
 * One statement for a batch: the last event of each order becomes its row, every event goes into the story. At most one
 * `last` per order, one `all` per (order, version). Locks the rows of these orders, in the order given; index: the
 * primary keys.
 */
export async function storeEvents(
  trx: Knex.Transaction,
  last: readonly OrderEvent[],
  all: readonly OrderEvent[],
): Promise<void> {
  await trx.raw(STORE_EVENTS, [...arraysOf(storyColumns, all), ...arraysOf(orderColumns, last)]);
}

const STORE_EVENTS = `
  with story as (
    insert into order_story (${names(storyColumns)})
    select ${values(storyColumns)} from ${unnest(storyColumns)}
  )
  insert into merchant_order (${names(orderColumns)})
  select ${values(orderColumns)} from ${unnest(orderColumns)}
  on conflict (merchant_id, livemode, order_id) do update set ${fromExcluded(orderColumns)}`;

/**
 * A restored source issues versions again with other content: what the replaced generation told never happened. The
 * order's row is overwritten by the event that follows in the same transaction. Rare; index: the primary key.
 */
export async function takeBackEvents(trx: Knex.Transaction, forks: readonly Fork[]): Promise<void> {
  await trx.raw(
    `delete from order_story s using unnest(?::uuid[], ?::uuid[], ?::integer[], ?::integer[])
       as f(merchant_id, order_id, from_version, to_version)
     where s.merchant_id = f.merchant_id and s.livemode in (true, false) and s.order_id = f.order_id
       and s.version between f.from_version and f.to_version`,
    [
      forks.map((fork) => fork.merchant_id),
      forks.map((fork) => fork.order_id),
      forks.map((fork) => fork.from_version),
      forks.map((fork) => fork.to_version),
    ],
  );
}

function names(columns: Columns): string {
  return columns.map(([name]) => name).join(', ');
}

/** What has no array type of its own arrives as text. */
function values(columns: Columns): string {
  return columns.map(([name, , , as]) => (as === undefined ? name : `${name}::${as}`)).join(', ');
}

/** `unnest(?::uuid[], …) as t(merchant_id, …)`: one array per column, one row per event. */
function unnest(columns: Columns): string {
  return `unnest(${columns.map(([, type]) => `?::${type}[]`).join(', ')}) as t(${names(columns)})`;
}

function arraysOf(columns: Columns, events: readonly OrderEvent[]): Buffer[] {
  return columns.map(([, type, value]) => arrayParameter(type, events.map(value)));
}

function fromExcluded(columns: Columns): string {
  return columns
    .filter(([name]) => !orderKey.includes(name))
    .map(([name]) => `${name} = excluded.${name}`)
    .join(', ');
}
