// How far the read model is behind, in seconds, without asking forwarding: ids of orders begin with their time, so the
// newest order in the order database and the newest one that query has applied tell it.
import pg from 'pg';

const LOOK_MS = 200;

export interface LagWatch {
  /** The most that was seen since the last call. */
  worst(): number;
  /** Seconds until the lag is below `seconds`; null when it is not within the limit. */
  untilBelow(seconds: number, limitSeconds: number): Promise<number | null>;
  close(): Promise<void>;
}

export async function watchLag(ordersUrl: string, queryUrl: string, merchants: readonly string[]): Promise<LagWatch> {
  const orders = new pg.Client(ordersUrl);
  const query = new pg.Client(queryUrl);
  await Promise.all([orders.connect(), query.connect()]);
  const openedAt = Date.now();
  let worst = 0;
  let closed = false;

  async function look(): Promise<number> {
    // Index: orders' primary key, backwards, per merchant; consumer_position's, backwards.
    const newest = await orders.query<{ id: string }>(
      `select max(id) as id from unnest($1::uuid[]) m cross join lateral (
         select order_id::text as id from orders where merchant_id = m order by order_id desc limit 1) o`,
      [merchants],
    );
    const applied = await query.query<{ id: string }>(
      'select order_id::text as id from read_model.consumer_position where version > 0 order by order_id desc limit 1',
    );
    const newestAt = timeOf(newest.rows[0]?.id);
    // Nothing applied yet: behind since we began to look.
    const appliedAt = timeOf(applied.rows[0]?.id) ?? Math.min(openedAt, newestAt ?? openedAt);
    const lag = newestAt === null ? 0 : Math.max(0, newestAt - appliedAt) / 1_000;
    worst = Math.max(worst, lag);
    return lag;
  }

  const loop = (async () => {
    while (!closed) {
      await look();
      await pause(LOOK_MS);
    }
  })();

  return {
    worst: () => {
      const seen = worst;
      worst = 0;
      return seen;
    },
    untilBelow: async (seconds, limitSeconds) => {
      const startedAt = performance.now();
      const elapsed = () => (performance.now() - startedAt) / 1_000;
      while (elapsed() < limitSeconds) {
        if ((await look()) < seconds) return elapsed();
        await pause(LOOK_MS);
      }
      return null;
    },
    close: async () => {
      closed = true;
      await loop;
      await Promise.all([orders.end(), query.end()]);
    },
  };
}

/** Milliseconds since 1970 of a UUIDv7. */
function timeOf(id: string | null | undefined): number | null {
  return id == null ? null : Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
