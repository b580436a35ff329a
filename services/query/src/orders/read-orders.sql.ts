// What merchants read. Every statement carries merchant and livemode, the first columns of every index.
import type { Knex } from '@ballast/database';

/** Whose orders: from the API key, never from the request. */
export interface Scope {
  readonly merchantId: string;
  readonly livemode: boolean;
}

export interface OrderRow {
  readonly order_id: string;
  readonly livemode: boolean;
  readonly version: number;
  readonly status: string;
  readonly amount: bigint;
  readonly currency: string;
  readonly approved_amount: bigint | null;
  readonly method: string;
  readonly channel: string | null;
  readonly terminal_id: string;
  readonly batch_number: string;
  readonly trace_number: string;
  readonly merchant_reference: string | null;
  readonly card_bin: string | null;
  readonly card_last_four: string | null;
  readonly authorization_code: string | null;
  readonly rrn: string | null;
  readonly decline_code: string | null;
  readonly reason: string | null;
  readonly answer: string | null;
  readonly void_requested: boolean;
  readonly business_date: string;
  readonly created_at: string;
  readonly updated_at: string;
}

const ORDER = `order_id, livemode, version, status, amount, currency, approved_amount, method, channel, terminal_id,
  batch_number, trace_number, merchant_reference, card_bin, card_last_four, authorization_code, rrn, decline_code,
  reason, answer, void_requested, business_date, rfc3339(created_at) as created_at, rfc3339(updated_at) as updated_at`;

/** Columns that an index begins with, after merchant and livemode. One at most decides which index is walked. */
const indexed = ['merchant_reference', 'trace_number', 'card_last_four'] as const;

export interface OrderQuery {
  /** Exclusive: the cursor, or the end of a time. */
  readonly before?: string | undefined;
  /** Inclusive. */
  readonly from?: string | undefined;
  readonly createdGte?: string | undefined;
  readonly createdLt?: string | undefined;
  /** Columns and the value each must have. */
  readonly equal: Readonly<Partial<Record<FilterColumn, string>>>;
}

export type FilterColumn =
  | (typeof indexed)[number]
  | 'status'
  | 'channel'
  | 'terminal_id'
  | 'amount'
  | 'batch_number'
  | 'business_date';

/** A statement and its values; apart from its run, so that a test can look at its plan. */
export interface Statement {
  readonly sql: string;
  readonly bindings: readonly (string | boolean | number)[];
}

/**
 * Newest first. Walks one index backwards (the key, or that of the first indexed filter), looking at `stretch` orders at
 * most, and keeps those that fit the other filters: whatever is asked, the work is bounded.
 */
export function selectOrdersStatement(scope: Scope, query: OrderQuery, stretch: number, limit: number): Statement {
  const walked = walk(scope, query);
  const kept = rest(query);
  return {
    sql: `select ${ORDER} from (
       select * from merchant_order where ${walked.sql} order by order_id desc limit ?
     ) walked
     where ${kept.sql}
     order by order_id desc limit ?`,
    bindings: [...walked.bindings, stretch, ...kept.bindings, limit],
  };
}

export async function selectOrders(
  knex: Knex,
  ...asked: Parameters<typeof selectOrdersStatement>
): Promise<OrderRow[]> {
  const { sql, bindings } = selectOrdersStatement(...asked);
  const { rows } = await knex.raw(sql, bindings);
  return rows;
}

/** The last order that a stretch looked at, where there may be more beyond it. Walks the same index. */
export function endOfStretchStatement(scope: Scope, query: OrderQuery, stretch: number): Statement {
  const walked = walk(scope, query);
  return {
    sql: `select order_id from merchant_order where ${walked.sql} order by order_id desc limit 1 offset ?`,
    bindings: [...walked.bindings, stretch - 1],
  };
}

export async function endOfStretch(
  knex: Knex,
  ...asked: Parameters<typeof endOfStretchStatement>
): Promise<string | undefined> {
  const { sql, bindings } = endOfStretchStatement(...asked);
  const { rows } = await knex.raw(sql, bindings);
  return rows[0]?.order_id;
}

function walk({ merchantId, livemode }: Scope, query: OrderQuery): Statement {
  const decisive = indexed.find((column) => query.equal[column] !== undefined);
  return all([
    { sql: 'merchant_id = ?', bindings: [merchantId] },
    { sql: 'livemode = ?', bindings: [livemode] },
    ...(decisive === undefined ? [] : [equals(decisive, query)]),
    ...(query.before === undefined ? [] : [{ sql: 'order_id < ?', bindings: [query.before] }]),
    ...(query.from === undefined ? [] : [{ sql: 'order_id >= ?', bindings: [query.from] }]),
  ]);
}

function rest(query: OrderQuery): Statement {
  const decisive = indexed.find((column) => query.equal[column] !== undefined);
  const others = (Object.keys(query.equal) as FilterColumn[]).filter((column) => column !== decisive);
  return all([
    { sql: 'true', bindings: [] },
    ...others.map((column) => equals(column, query)),
    ...(query.createdGte === undefined ? [] : [{ sql: 'created_at >= ?', bindings: [query.createdGte] }]),
    ...(query.createdLt === undefined ? [] : [{ sql: 'created_at < ?', bindings: [query.createdLt] }]),
  ]);
}

function equals(column: FilterColumn, query: OrderQuery): Statement {
  const value = query.equal[column];
  if (value === undefined) throw new Error(`BUG: no value for ${column}`);
  return { sql: `${column} = ?`, bindings: [value] };
}

function all(fragments: readonly Statement[]): Statement {
  return {
    sql: fragments.map(({ sql }) => sql).join(' and '),
    bindings: fragments.flatMap(({ bindings }) => bindings),
  };
}

export interface StoryRow extends OrderRow {
  readonly story: readonly {
    readonly version: number;
    readonly type: string;
    readonly occurred_at: string;
    readonly state: unknown;
  }[];
}

/** An order and its events in order, in one statement: one snapshot, so that row and story agree. Index: the keys. */
export async function selectStory(knex: Knex, scope: Scope, orderId: string): Promise<StoryRow | undefined> {
  const { rows } = await knex.raw(
    `select ${ORDER}, (
       select json_agg(json_build_object('version', s.version, 'type', s.type,
         'occurred_at', rfc3339(s.occurred_at), 'state', s.state) order by s.version)
       from order_story s where s.merchant_id = ? and s.livemode = ? and s.order_id = ?
     ) as story
     from merchant_order where merchant_id = ? and livemode = ? and order_id = ?`,
    [scope.merchantId, scope.livemode, orderId, scope.merchantId, scope.livemode, orderId],
  );
  return rows[0];
}
