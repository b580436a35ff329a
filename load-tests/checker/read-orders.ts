// Reads the databases order by order: cursors over one snapshot each, all sorted by order id, merged in step.
// A run of a million orders passes through without being held in memory.
import pg from 'pg';
import type { AttemptRow, EventRow, KeyRow, OrderRow, PositionRow, Story, ToldRow, ViewRow } from './story.ts';

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
  attempts: `select a.merchant_id, a.order_id, a.attempt_no, a.state, a.channel, a.bank_reference, a.amount, a.currency,
    a.livemode, (extract(epoch from a.last_send_at) * 1000)::float8 as last_send_ms, a.approved_amount,
    c.order_id is not null as with_person, coalesce(c.evidence is not null, false) as case_has_evidence
    from attempt a left join (
      select distinct on (merchant_id, order_id, attempt_no) merchant_id, order_id, attempt_no, evidence
      from person_case where closed_at is null order by merchant_id, order_id, attempt_no, version desc
    ) c on c.merchant_id = a.merchant_id and c.order_id = a.order_id and c.attempt_no = a.attempt_no
    order by a.order_id, a.merchant_id, a.attempt_no`,
  events: `select merchant_id, order_id, version, type, livemode, generation,
    (extract(epoch from occurred_at) * 1000)::float8 as occurred_ms, data
    from order_event order by order_id, merchant_id, version`,
  keys: `select merchant_id, order_id, key_hash, trace_hash from payment_key where order_id is not null
    order by order_id, merchant_id`,
  views: `select merchant_id, order_id, generation, livemode, version, status, amount, currency, approved_amount, method,
    channel, terminal_id, batch_number, trace_number, merchant_reference, card_bin, card_last_four, authorization_code,
    rrn, decline_code, reason, answer, void_requested, to_char(business_date, 'YYYY-MM-DD') as business_date,
    ${instant('created_at')}
    from read_model.merchant_order order by order_id, merchant_id`,
  told: `select merchant_id, order_id, version, generation, type, state
    from read_model.order_story order by order_id, merchant_id, version`,
  positions: `select merchant_id, order_id, source, generation, version, waits_for
    from read_model.consumer_position order by order_id, merchant_id`,
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
export async function* readStories(client: pg.Client, query: pg.Client | null): AsyncGenerator<Story> {
  const orders = await openCursor<OrderRow>(client, 'orders');
  const attempts = await openCursor<AttemptRow>(client, 'attempts');
  const events = await openCursor<EventRow>(client, 'events');
  const keys = await openCursor<KeyRow & { order_id: string }>(client, 'keys');
  const view = query === null ? null : await openView(query);
  const all = [orders, attempts, events, keys, ...(view === null ? [] : Object.values(view))];
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
      view:
        view === null
          ? null
          : {
              rows: await view.rows.take(next),
              told: await view.told.take(next),
              positions: await view.positions.take(next),
            },
    };
  }
}

async function openView(query: pg.Client) {
  await query.query('begin isolation level repeatable read read only');
  return {
    rows: await openCursor<ViewRow>(query, 'views'),
    told: await openCursor<ToldRow>(query, 'told'),
    positions: await openCursor<PositionRow>(query, 'positions'),
  };
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
