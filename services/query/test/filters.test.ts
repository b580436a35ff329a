// Each filter finds exactly what it says, alone and beside others; a page that looks at a bounded stretch misses nothing.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listOrders } from '../src/orders/list-orders.ts';
import { orderFiltersSchema } from '../src/orders/order-filters.ts';
import { event, merchantA } from './support/events.ts';
import { startQuery, type TestQuery } from './support/query.ts';

let query: TestQuery;
let key: string;
const start = Date.parse('2026-11-02T10:00:00.000Z');
const terminals = ['019a0000-0000-7000-8000-000000000001', '019a0000-0000-7000-8000-000000000002'];
const idAt = (ms: number, n: number) => {
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${n.toString(16).padStart(12, '0')}`;
};
/** One order an hour for ten days. */
const orders = Array.from({ length: 240 }, (_, n) =>
  event(1, {
    orderId: idAt(start + n * 3_600_000, n),
    type: n % 20 === 0 ? 'declined' : 'approved',
    state: {
      status: n % 20 === 0 ? 'declined' : 'approved',
      terminal_id: terminals[n % 2] ?? '',
      channel: n % 3 === 0 ? 'bank_b' : 'bank_a',
      amount: 1_000 + (n % 7),
      merchant_reference: n % 5 === 0 ? `table ${n}` : null,
      card_last_four: n % 4 === 0 ? null : String(4_000 + (n % 50)),
      batch_number: String(1 + Math.floor(n / 24)).padStart(6, '0'),
      trace_number: String(100 + n).padStart(6, '0'),
    },
  }),
).map((one) => one);

beforeAll(async () => {
  query = await startQuery('filters', { now: () => start + 240 * 3_600_000 });
  key = (await query.issueKey(merchantA)).api_key;
  await query.deliver(orders);
});
afterAll(() => query.stop());

type Order = (typeof orders)[number];
const cases: [string, (order: Order) => boolean][] = [
  ['limit=200&status=declined', ({ data }) => data.status === 'declined'],
  [`terminal=trm_${terminals[1]}&limit=200`, ({ data }) => data.terminal_id === terminals[1]],
  ['channel=bank_b&limit=200', ({ data }) => data.channel === 'bank_b'],
  ['amount=1003', ({ data }) => data.amount === 1_003],
  ['merchant_reference=table%2025', ({ data }) => data.merchant_reference === 'table 25'],
  ['merchant_reference=table', () => false],
  ['card_last_four=4007', ({ data }) => data.card_last_four === '4007'],
  ['batch_number=000003', ({ data }) => data.batch_number === '000003'],
  ['trace_number=000142', ({ data }) => data.trace_number === '000142'],
  ['trace_number=000142&batch_number=000001', () => false],
  ['business_date=2026-11-04', ({ data }) => data.business_date === '2026-11-04'],
  ['business_date=2030-01-01', () => false],
  ['created%5Bgte%5D=2026-11-11T09%3A00%3A00Z', ({ data }) => data.accepted_at >= '2026-11-11T09:00:00.000Z'],
  ['created%5Blt%5D=2026-11-02T13:00:00.000Z', ({ data }) => data.accepted_at < '2026-11-02T13:00:00.000Z'],
  [
    'created[gte]=2026-11-05T00:00:00%2B02:00&created[lt]=2026-11-06T00:00:00%2B02:00&status=approved',
    ({ data }) =>
      data.accepted_at >= '2026-11-04T22:00:00.000Z' &&
      data.accepted_at < '2026-11-05T22:00:00.000Z' &&
      data.status === 'approved',
  ],
  [
    'card_last_four=4007&channel=bank_b&amount=1001',
    ({ data }) => data.card_last_four === '4007' && data.channel === 'bank_b' && data.amount === 1_001,
  ],
];

test.each(cases)('%s', async (parameters, fits) => {
  const { status, body } = await query.get(`/v1/orders?${parameters}`, key);
  expect(status).toBe(200);
  const expected = orders.filter(fits).map(({ order_id }) => `ord_${order_id}`);
  expect(body.data.map((order: { id: string }) => order.id)).toEqual(expected.reverse());
});

test('a rare filter ends its page at the end of the stretch, and following the cursor misses nothing', async () => {
  const scope = { merchantId: merchantA, livemode: false };
  const found: string[] = [];
  let cursor: string | null = null;
  let pages = 0;
  do {
    const filters = orderFiltersSchema.parse({
      status: 'declined',
      ...(cursor === null ? {} : { starting_after: cursor }),
    });
    const page = await listOrders(query.readers, scope, filters, 30);
    found.push(...page.data.map((order) => order.id));
    expect(page.has_more).toBe(page.next_cursor !== null);
    cursor = page.next_cursor;
    pages++;
  } while (cursor !== null);
  expect(pages).toBe(9); // 240 orders, 30 at a time, and one to see that there is nothing beyond
  const declined = orders.filter(({ data }) => data.status === 'declined').map(({ order_id }) => `ord_${order_id}`);
  expect(found).toEqual(declined.reverse());
});
