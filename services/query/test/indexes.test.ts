// Every advertised filter, alone and with every other, walks an index: looked at in the plans, on ordinary data.
import { uuidv7 } from '@ballast/database';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { orderFiltersSchema, queryOf } from '../src/orders/order-filters.ts';
import { endOfStretchStatement, selectOrdersStatement } from '../src/orders/read-orders.sql.ts';
import { event, merchantA, newMerchant } from './support/events.ts';
import { startQuery, type TestQuery } from './support/query.ts';

const DAY_MS = 86_400_000;
let query: TestQuery;

beforeAll(async () => {
  query = await startQuery('indexes');
  // Three merchants over five weeks, and nothing analyzed: as it is on a first busy day.
  const merchants = [merchantA, newMerchant(), newMerchant()];
  const start = Date.now() - 35 * DAY_MS;
  for (let batch = 0; batch < 9; batch++) {
    await query.deliver(
      Array.from({ length: 1_000 }, (_, i) => {
        const n = batch * 1_000 + i;
        return event(1, {
          merchantId: merchants[n % 3] ?? merchantA,
          orderId: uuidv7At(start + n * ((35 * DAY_MS) / 9_000)),
          state: {
            status: n % 10 === 0 ? 'declined' : 'approved',
            merchant_reference: `order ${n}`,
            card_last_four: String(1_000 + (n % 9_000)),
            trace_number: String(100_000 + n),
            amount: 100 + (n % 500),
            channel: n % 2 === 0 ? 'bank_a' : 'bank_b',
          },
        });
      }),
    );
  }
}, 120_000);
afterAll(() => query.stop());

/** Times of long ago: the generator of the house goes forward only. */
function uuidv7At(ms: number): string {
  const hex = Math.floor(ms).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}${uuidv7(Date.now()).slice(13)}`;
}

const today = new Date().toISOString().slice(0, 10);
const filters = {
  'created[gte]': new Date(Date.now() - 3 * DAY_MS).toISOString(),
  'created[lt]': new Date().toISOString(),
  status: 'declined',
  channel: 'bank_a',
  terminal: 'trm_019a0000-0000-7000-8000-000000000001',
  merchant_reference: 'order 8000',
  card_last_four: '1234',
  amount: '250',
  batch_number: '000001',
  trace_number: '108000',
  business_date: today,
  starting_after: `ord_${uuidv7(Date.now())}`,
};
type Name = keyof typeof filters;
const names = Object.keys(filters) as Name[];
const pairs = names.flatMap((a, i) => names.slice(i + 1).map((b): Name[] => [a, b]));

interface Plan {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly Plans?: readonly Plan[];
}

async function nodesOf(statement: { sql: string; bindings: readonly (string | number | boolean)[] }): Promise<Plan[]> {
  const { rows } = await query.readers.raw(`explain (format json) ${statement.sql}`, [...statement.bindings]);
  const flat = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(flat)];
  return flat(rows[0]['QUERY PLAN'][0].Plan);
}

test('every filter of the API is in this test', () => {
  expect(new Set([...names, 'limit'])).toEqual(new Set(Object.keys(orderFiltersSchema.shape)));
});

const combinations = [[], ...names.map((name) => [name]), ...pairs, names];
test.each(combinations.map((chosen) => ({ chosen })))('filters $chosen walk an index', async ({ chosen }) => {
  const parsed = orderFiltersSchema.parse(Object.fromEntries(chosen.map((name) => [name, filters[name]])));
  const scope = { merchantId: merchantA, livemode: false };
  const first = ['merchant_reference', 'trace_number', 'card_last_four'].find((name) =>
    (chosen as string[]).includes(name),
  );
  for (const statement of [
    selectOrdersStatement(scope, queryOf(parsed), 10_000, 51),
    endOfStretchStatement(scope, queryOf(parsed), 10_000),
  ]) {
    const nodes = await nodesOf(statement);
    const scans = nodes.filter((node) => node['Relation Name'] !== undefined);
    expect(scans.length).toBeGreaterThan(0);
    for (const scan of scans) expect(scan['Node Type']).toMatch(/^Index (Only )?Scan$/);
    // A page is read in the order of an index: nothing is collected and sorted first.
    expect(nodes.filter((node) => /Sort/.test(node['Node Type']))).toEqual([]);
    if (first === undefined) for (const scan of scans) expect(scan['Index Name']).toMatch(/_pkey$/);
  }
});

test.each([
  ['merchant_reference', /_merchant_refer/],
  ['trace_number', /_trace_number/],
  ['card_last_four', /_card_last_fou/],
] as const)('%s walks its own index', async (name, index) => {
  const parsed = orderFiltersSchema.parse({ [name]: filters[name] });
  const statement = selectOrdersStatement({ merchantId: merchantA, livemode: false }, queryOf(parsed), 10_000, 51);
  const scans = (await nodesOf(statement)).filter((node) => node['Relation Name'] !== undefined);
  for (const scan of scans) expect(scan['Index Name']).toMatch(index);
});

test('the story of an order touches one partition of each table', async () => {
  const { rows } = await query.readers.raw(
    `explain (format json) select * from merchant_order o join order_story s using (merchant_id, livemode, order_id)
     where o.merchant_id = ? and o.livemode = ? and o.order_id = ?`,
    [merchantA, false, uuidv7At(Date.now() - 10 * DAY_MS)],
  );
  const text = JSON.stringify(rows);
  expect(text.match(/"Relation Name":"merchant_order_\d+"/g)).toHaveLength(1);
  expect(text.match(/"Relation Name":"order_story_\d+"/g)).toHaveLength(1);
  expect(text).not.toContain('Seq Scan');
});

test('no table of the read model has more than four indexes', async () => {
  const { rows } = await query.knex.raw(
    `select c.relname, count(*)::int as indexes from pg_index i join pg_class c on c.oid = i.indrelid
     join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'read_model' group by c.relname`,
  );
  expect(rows.length).toBeGreaterThan(5);
  for (const { relname, indexes } of rows) expect(indexes, relname).toBeLessThanOrEqual(4);
});
