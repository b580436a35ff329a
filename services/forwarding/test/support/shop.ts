// A source with orders, attempts and their journal, as collection writes them, and a journal that loses some of it.
import { uuidv7 } from '@ballast/database';
import { startSource, type TestSource } from './source.ts';
import { started } from './started.ts';

const DAY_MS = 86_400_000;
export const today = Math.floor(Date.now() / DAY_MS) * DAY_MS;
export const yesterday = today - DAY_MS;
export const merchant = uuidv7(today);

export const nameOf = (day: number) => new Date(day).toISOString().slice(0, 10).replaceAll('-', '');
export const lowest = (ms: number) => {
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
};

/** The journal's partitions are there; those of orders and attempts are not made by other tests. */
export async function startShop(label: string): Promise<TestSource> {
  const source = await started(startSource(label));
  for (const table of ['orders', 'attempt'])
    for (const day of [yesterday, today])
      await source.query(
        `create table ${table}_${nameOf(day)} partition of ${table} for values from ('${lowest(day)}') to ('${lowest(day + DAY_MS)}')`,
      );
  return source;
}

/** New orders of that day, each accepted; resolves to their ids. */
export async function sell(source: TestSource, day: number, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, index) => uuidv7(day + 3_600_000 + index));
  await source.query(
    `with sold as (
       insert into orders (merchant_id, order_id, terminal_id, livemode, status, version, amount, currency, method, channel,
         batch_number, trace_number, merchant_reference, instrument_fingerprint, transaction_time, accepted_at,
         approve_until, voidable_until, business_date, attempt_no, lease_owner, lease_epoch, lease_until)
       select $1, id, $1, false, 'processing', 1, 1250, 'EUR', 'card', 'bank_a', '000001', '000001', 'version 1', 'x', now(),
         now(), now(), now(), now(), 1, 'test', 1, now()
       from unnest($2::uuid[]) as id returning orders as o
     ), sent as (
       insert into attempt (merchant_id, order_id, attempt_no, state, channel, bank_reference, bank_merchant_number,
         bank_terminal_number, amount, currency, livemode, last_send_at)
       select $1, id, 1, 'sent', 'bank_a', 'R', 'M', 'T', 1250, 'EUR', false, now()
       from unnest($2::uuid[]) as id returning attempt as a
     )
     insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
     select $1, (o).order_id, 1, 'accepted', false, 1, order_state(o, a)
     from sold join sent on (a).order_id = (o).order_id`,
    [merchant, ids],
  );
  return ids;
}

/** The next version of each. */
export async function change(source: TestSource, ids: readonly string[]): Promise<void> {
  await source.query(
    `with moved as (
       update orders set version = version + 1, status = 'approved', merchant_reference = 'version ' || version + 1
       where order_id = any($1::uuid[]) returning orders as o
     )
     insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
     select (o).merchant_id, (o).order_id, (o).version, 'approved', false, 1, order_state(o, a)
     from moved join attempt a on a.merchant_id = (o).merchant_id and a.order_id = (o).order_id`,
    [ids],
  );
}

/** As only a restore, or somebody's hand, can do it. */
export async function lose(source: TestSource, where: string, values: unknown[] = []): Promise<void> {
  await source.query('alter table order_event disable trigger all');
  await source.query(`delete from order_event where ${where}`, values);
  await source.query('alter table order_event enable trigger all');
}
