// A source database as collection makes it, and a load that writes events the way collection does: concurrent
// transactions, several events each, an order's versions in commit order, ids and commits in different orders.
import { migrate, openDatabase, uuidv7 } from '@ballast/database';
import { freshDatabase, type TestDatabase } from '@ballast/database/testing';
import pg from 'pg';

const migrations = new URL('../../../collection/migrations/', import.meta.url);
const DAY_MS = 86_400_000;
const merchants = Array.from({ length: 5 }, () => uuidv7(Date.now()));

export interface TestSource {
  readonly url: string;
  readonly slot: string;
  query(text: string, values?: unknown[]): Promise<pg.QueryResult>;
  /** Writes `count` events of new orders in transactions of `perTransaction`, from several connections at once. */
  write(count: number, perTransaction?: number): Promise<void>;
  /** One more event of every order, whose reference is `text`. `xid`: what the rows say of who wrote them, in SQL. */
  append(text: string, xid?: string): Promise<void>;
  /** Writes events of new orders until stopped; resolves to the number of events. `perSecond`: about so many. */
  load(perSecond: number): { stop(): Promise<number> };
  /** The same database where another server has it. */
  at(url: string): Promise<TestSource>;
  /** Ends its sessions and replication slot, and drops it. */
  close(): Promise<void>;
}

interface Order {
  readonly merchantId: string;
  readonly orderId: string;
  version: number;
}

const WRITERS = 4;

/** `own`: a database on another server than the one all tests share. */
export async function startSource(label: string, own?: TestDatabase): Promise<TestSource> {
  const database = own ?? (await freshDatabase(label));
  const knex = openDatabase({ url: database.url, applicationName: 'test', poolMax: 2 });
  await migrate(knex, migrations);
  const today = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  for (const day of [today - DAY_MS, today, today + DAY_MS])
    await knex.raw(
      `create table order_event_${new Date(day).toISOString().slice(0, 10).replaceAll('-', '')} partition of order_event
       for values from ('${lowerBound(day)}') to ('${lowerBound(day + DAY_MS)}')`,
    );
  await knex.destroy();
  return openSource(database);
}

async function openSource(database: TestDatabase): Promise<TestSource> {
  const pool = new pg.Pool({ connectionString: database.url, max: WRITERS + 1 });
  pool.on('error', () => undefined); // tests kill backends
  const slot = `s_${database.name}`.slice(-63);

  /** One transaction: half new orders, half next versions of this writer's own. */
  async function transaction(writer: number, own: Order[], count: number): Promise<void> {
    const changes = new Map<string, Order>();
    for (let i = 0; i < count; i++) {
      const known = i % 2 === 1 ? own[Math.floor(Math.random() * own.length)] : undefined;
      const next =
        known !== undefined && !changes.has(known.orderId)
          ? { ...known, version: known.version + 1 }
          : { merchantId: merchants[writer] ?? '', orderId: uuidv7(Date.now()), version: 1 };
      changes.set(next.orderId, next);
    }
    const rows = [...changes.values()];
    await pool.query(
      `insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
       select merchant_id, order_id, version, 'accepted', false, (select generation from source_generation),
         ${STATE}
       from unnest($1::uuid[], $2::uuid[], $3::int[]) as t(merchant_id, order_id, version)`,
      [rows.map((row) => row.merchantId), rows.map((row) => row.orderId), rows.map((row) => row.version)],
    );
    for (const row of rows) {
      const at = own.findIndex((order) => order.orderId === row.orderId);
      if (at >= 0) own[at] = row;
      else if (own.length < 500) own.push(row);
      else own[Math.floor(Math.random() * own.length)] = row;
    }
  }

  return {
    url: database.url,
    slot,
    query: (text, values) => pool.query(text, values),
    write: async (count, perTransaction = 20) => {
      let left = Math.ceil(count / perTransaction);
      const write = async (writer: number, own: Order[]) => {
        while (left-- > 0) await transaction(writer, own, perTransaction);
      };
      await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer, [])));
    },
    append: async (text, xid = 'pg_current_xact_id()::text::bigint') => {
      await pool.query(
        `insert into order_event (merchant_id, order_id, version, type, livemode, generation, xid, data)
         select merchant_id, order_id, version + 1, type, livemode, (select generation from source_generation), ${xid},
           data || jsonb_build_object('version', version + 1, 'merchant_reference', $1::text)
         from (select distinct on (order_id) * from order_event order by order_id, version desc) last`,
        [text],
      );
    },
    load: (perSecond) => {
      let stopped = false;
      let written = 0;
      const started = performance.now();
      const write = async (writer: number, own: Order[]) => {
        while (!stopped) {
          const due = ((performance.now() - started) / 1_000) * perSecond - written;
          if (due < 1) {
            await new Promise((resolve) => setTimeout(resolve, 2));
            continue;
          }
          const count = Math.min(20, Math.ceil(due));
          // What fails is unknown: its orders are left alone, and the journal says what became of them.
          const done = await transaction(writer, own, count).then(
            () => count,
            () => own.splice(0) && 0,
          );
          written += done;
        }
      };
      const running = Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer, [])));
      return {
        stop: async () => {
          stopped = true;
          await running;
          return written;
        },
      };
    },
    at: (url) => openSource({ ...database, url }),
    close: async () => {
      const reached = await pool
        .query('select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active', [
          slot,
        ])
        .then(
          () => true,
          () => false,
        );
      if (reached) await dropSlot(pool, slot); // a test may have killed its server for good
      await pool.end();
      await database.drop();
    },
  };
}

/** A walsender that was told to end takes a moment. */
async function dropSlot(pool: pg.Pool, slot: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await pool.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1', [
        slot,
      ]);
      return;
    } catch (error) {
      if (tries >= 100 || !(error instanceof pg.DatabaseError && error.code === '55006')) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function lowerBound(dayMs: number): string {
  const hex = dayMs.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** As order_state() writes it. */
const STATE = `jsonb_build_object(
  'order_id', order_id, 'merchant_id', merchant_id, 'terminal_id', merchant_id, 'livemode', false, 'version', version,
  'status', 'processing', 'amount', 1250, 'currency', 'EUR', 'approved_amount', null, 'method', 'card',
  'channel', 'bank_a', 'batch_number', '000001', 'trace_number', '000001', 'merchant_reference', case when right(order_id::text, 1) = '0' then 'Ünïcode "quoted" \\ 😀' else 'reference' end,
  'card_bin', '411111', 'card_last_four', '1111', 'user_id', 'user-1', 'device', '{"model": "x", "serial": "12345"}'::jsonb,
  'discounts', null, 'decline_code', null, 'reason', null, 'answer', null, 'business_date', '2026-11-24',
  'accepted_at', '2026-11-24T20:00:00.123Z', 'approve_until', '2026-11-24T20:01:00.123Z',
  'voidable_until', '2026-11-24T20:30:00.123Z', 'void_requested', false, 'window_closed', false,
  'attempt', jsonb_build_object('attempt', 1, 'state', 'sent', 'channel', 'bank_a',
    'bank_reference', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAA', 'rrn', null, 'authorization_code', null, 'bank_code', null, 'reason', null))`;
