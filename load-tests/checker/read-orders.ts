// Reads the order database order by order: four cursors over one snapshot, each sorted by order id, merged in step.
// A run of a million orders passes through without being held in memory.
import pg from 'pg';
import type { AttemptRow, EventRow, KeyRow, OrderRow, Story } from './story.ts';

const PAGE = 2_000;
const INT8 = 20;

const instant = (column: string) =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as ${column}`;

const cursors = {
  orders: `select merchant_id, order_id, terminal_id, livemode, status, version, amount, currency, approved_amount, method,
    channel, batch_number, trace_number, merchant_reference, card_bin, card_last_four, decline_code,
    to_char(business_date, 'YYYY-MM-DD') as business_date, ${instant('accepted_at')}, ${instant('approve_until')},
    void_requested, window_closed, lease_epoch, answer, answer_status
    from orders order by order_id, merchant_id`,
  attempts: `select merchant_id, order_id, attempt_no, state, channel, bank_reference, amount, currency, livemode,
    (extract(epoch from last_send_at) * 1000)::float8 as last_send_ms, approved_amount, evidence is not null as has_evidence
    from attempt order by order_id, merchant_id, attempt_no`,
  events: `select merchant_id, order_id, version, type, livemode, generation,
    (extract(epoch from occurred_at) * 1000)::float8 as occurred_ms, data
    from order_event order by order_id, merchant_id, version`,
  keys: `select merchant_id, order_id, key_hash, trace_hash from payment_key where order_id is not null
    order by order_id, merchant_id`,
} as const;

/** A client that may only read, with amounts as numbers. */
export async function openReader(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'checker',
    options: '-c default_transaction_read_only=on -c work_mem=128MB -c plan_cache_mode=auto',
    types: {
      getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
        oid === INT8 ? Number : pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
    },
  });
  await client.connect();
  return client;
}

/** Takes the snapshot that everything is read from, and in it the numbers held by voids whose payment has not come. */
export async function openSnapshot(client: pg.Client): Promise<{ heldNumbers: Set<string> }> {
  await client.query('begin isolation level repeatable read read only');
  const { rows } = await client.query<{ trace_hash: string }>(
    'select trace_hash from payment_key where order_id is null',
  );
  return { heldNumbers: new Set(rows.map((row) => row.trace_hash)) };
}

/** Every order with all that belongs to it. Rows without an order come as stories of their own. */
export async function* readStories(client: pg.Client): AsyncGenerator<Story> {
  const orders = await openCursor<OrderRow>(client, 'orders');
  const attempts = await openCursor<AttemptRow>(client, 'attempts');
  const events = await openCursor<EventRow>(client, 'events');
  const keys = await openCursor<KeyRow & { order_id: string }>(client, 'keys');
  const all = [orders, attempts, events, keys];
  for (;;) {
    const next = least(all.map((cursor) => cursor.head()));
    if (next === undefined) return;
    const [order = null] = await orders.take(next);
    yield {
      order,
      orderId: next.split('/')[0] ?? next,
      attempts: await attempts.take(next),
      events: await events.take(next),
      keys: await keys.take(next),
    };
  }
}

interface Cursor<Row> {
  /** `order/merchant` of the next row; lower-case hyphenated UUIDs sort as text exactly as they sort as uuid. */
  head(): string | undefined;
  /** Every next row of that order. */
  take(key: string): Promise<Row[]>;
}

async function openCursor<Row extends { merchant_id: string; order_id: string }>(
  client: pg.Client,
  name: keyof typeof cursors,
): Promise<Cursor<Row>> {
  await client.query(`declare checker_${name} no scroll cursor for ${cursors[name]}`);
  let page: Row[] = [];
  let at = 0;
  const head = () => {
    const row = page[at];
    return row === undefined ? undefined : `${row.order_id}/${row.merchant_id}`;
  };
  const fill = async () => {
    page = (await client.query<Row>(`fetch ${PAGE} from checker_${name}`)).rows;
    at = 0;
  };
  await fill();
  return {
    head,
    take: async (key) => {
      const taken: Row[] = [];
      while (head() === key) {
        taken.push(page[at] as Row);
        at++;
        if (at === page.length) await fill();
      }
      return taken;
    },
  };
}

function least(heads: readonly (string | undefined)[]): string | undefined {
  return heads.reduce((a, b) => (a === undefined || (b !== undefined && b < a) ? b : a), undefined);
}
