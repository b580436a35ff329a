// What must be true once nothing is on its way any more: the checker's invariants, and the read model equal to the journal.
import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { request } from 'undici';
import { expect } from 'vitest';
import { check } from '../../../load-tests/checker/check.ts';
import { openOrders } from '../../../load-tests/checker/quiet.ts';
import { checkInputOf } from '../../../scripts/system/check-input.ts';
import { type RunFile, readCredentials, serviceOf } from '../../../scripts/system/run-file.ts';

/** A killed collection's leases (deadline and margin, 8 s), then inquiries until the horizon is over. */
const QUIET_LIMIT_MS = 30_000;
const CAUGHT_UP_LIMIT_MS = 15_000;

export async function query<T extends pg.QueryResultRow>(
  url: string,
  sql: string,
  values: unknown[] = [],
): Promise<T[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<T>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

/** Resolves when every order is decided. */
export async function quiet(run: RunFile): Promise<void> {
  const client = new pg.Client(run.databases.orders);
  await client.connect();
  try {
    await waitFor('every order to be decided', async () => (await openOrders(client)) === 0, QUIET_LIMIT_MS);
  } finally {
    await client.end();
  }
}

/**
 * Every invariant the checker knows, over the whole run: databases, banks' books, what terminals were told, all logs. Texts of
 * /metrics only where the test did nothing that makes a transaction long (I-27).
 */
export async function expectInvariants(
  run: RunFile,
  historyFile: string,
  metrics: readonly string[] = [],
): Promise<void> {
  const { results } = await check(checkInputOf(run, { histories: [historyFile], metrics, quiet: true }));
  expect(results.flatMap(({ id, violations }) => violations.map((text) => `${id} ${text}`))).toEqual([]);
}

interface Journalled extends pg.QueryResultRow {
  readonly order_id: string;
  readonly merchant_id: string;
  readonly events: number;
  readonly status: string;
}

/** Through the merchants' own API: every order's story holds every event of the journal, and its last state. */
export async function expectReadModelEqualsJournal(run: RunFile): Promise<void> {
  const journal = await query<Journalled>(
    run.databases.orders,
    `select order_id, merchant_id, max(version) as events,
       (array_agg(data->>'status' order by version desc))[1] as status
     from order_event group by order_id, merchant_id order by order_id`,
  );
  const base = serviceOf(run, 'query').url;
  const { merchants } = readCredentials(run);
  const keyOf = new Map(merchants.map(({ merchant_id, api_key }) => [merchant_id.slice('mer_'.length), api_key]));
  const seen: Journalled[] = [];
  for (const order of journal) {
    const story = await waitFor(
      `the story of ${order.order_id}`,
      async () => {
        const reply = await request(`${base}/v1/orders/ord_${order.order_id}`, {
          headers: { authorization: `Bearer ${keyOf.get(order.merchant_id)}` },
        });
        const body = (await reply.body.json()) as { status: string; events: { version: number }[] };
        return reply.statusCode === 200 && body.events.length >= order.events ? body : null;
      },
      CAUGHT_UP_LIMIT_MS,
    );
    expect(story.events.map(({ version }) => version)).toEqual(Array.from({ length: order.events }, (_, i) => i + 1));
    seen.push({ ...order, status: story.status });
  }
  expect(seen).toEqual(journal);
  expect(journal.length).toBeGreaterThan(0);
}
