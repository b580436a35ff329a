// How long a subscriber waits for what was committed, seen from outside: one order in sixteen is looked up in the read
// model's own positions until the version is there. Both looks are read-only and by primary key.
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';

const LOOK_MS = 100;
/** Ids begin with their time: an order's later events are looked for this long. */
const RECENT_MS = 5_000;
/** What was committed last is waited for this long. */
const ARRIVE_LIMIT_MS = 10_000;

export interface Delay {
  /** ms since 1970. */
  readonly occurredAt: number;
  readonly ms: number;
}

export interface DelayWatch {
  /** Those that have arrived, and how many still have not; then it looks no more. A look is `LOOK_MS` late at most. */
  close(): Promise<{ readonly delays: readonly Delay[]; readonly missing: number }>;
}

export async function watchDelay(
  ordersUrl: string,
  queryUrl: string,
  merchants: readonly string[],
): Promise<DelayWatch> {
  const orders = new pg.Client(ordersUrl);
  const query = new pg.Client(queryUrl);
  await Promise.all([orders.connect(), query.connect()]);
  const seen = new Set<string>();
  const waiting = new Map<string, { order: string; version: number; occurredAt: number }>();
  const delays: Delay[] = [];
  const startedAt = Date.now();
  let closed = false;

  async function look(): Promise<void> {
    const from = idAt(Math.max(startedAt, Date.now() - RECENT_MS));
    const fresh = await orders.query<{ order: string; version: number; at: string }>(
      // Index: the primary key, per merchant.
      `select order_id::text as order, version, (extract(epoch from occurred_at) * 1000)::text as at
       from order_event where merchant_id = any($1::uuid[]) and order_id >= $2::uuid and right(order_id::text, 1) = '0'`,
      [merchants, from],
    );
    for (const { order, version, at } of fresh.rows) {
      const event = `${order}:${version}`;
      if (seen.has(event)) continue;
      seen.add(event);
      waiting.set(event, { order, version, occurredAt: Number(at) });
    }
    const applied = await query.query<{ order: string; version: number }>(
      'select order_id::text as order, version from read_model.consumer_position where order_id = any($1::uuid[])',
      [[...new Set([...waiting.values()].map(({ order }) => order))]],
    );
    const now = Date.now();
    const upTo = new Map(applied.rows.map(({ order, version }) => [order, version]));
    for (const [event, { order, version, occurredAt }] of waiting) {
      if ((upTo.get(order) ?? 0) < version) continue;
      waiting.delete(event);
      delays.push({ occurredAt, ms: now - occurredAt });
    }
  }

  const looking = (async () => {
    while (!closed) {
      await look();
      await pause(LOOK_MS);
    }
  })();
  return {
    close: async () => {
      const until = performance.now() + ARRIVE_LIMIT_MS;
      await Promise.race([looking, pause(2 * LOOK_MS)]); // the last events are seen, or the looking has failed
      while (waiting.size > 0 && performance.now() < until) await Promise.race([looking, pause(LOOK_MS)]);
      closed = true;
      await looking;
      await Promise.all([orders.end(), query.end()]);
      return { delays, missing: waiting.size };
    },
  };
}

/** The least UUIDv7 of that ms. */
function idAt(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}
