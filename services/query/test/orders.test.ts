// What a merchant sees of what was delivered.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { approvedOrder, event, merchantA, newMerchant } from './support/events.ts';
import { startQuery, type TestQuery } from './support/query.ts';

let query: TestQuery;
let key: string;

beforeAll(async () => {
  query = await startQuery('orders');
  key = (await query.issueKey(merchantA)).api_key;
});
afterAll(() => query.stop());

test('an order that was accepted and approved is in the list and tells its story in order', async () => {
  const [accepted, approved] = approvedOrder({ state: { merchant_reference: 'table 7' } });
  expect(await query.deliver([accepted])).toMatchObject({ applied: 1, gaps: [] });
  expect(await query.deliver([approved])).toMatchObject({ applied: 1, gaps: [] });

  const list = await query.get('/v1/orders?merchant_reference=table%207', key);
  expect(list.status).toBe(200);
  expect(list.body).toEqual({
    data: [
      {
        id: `ord_${accepted.order_id}`,
        status: 'approved',
        livemode: false,
        amount: 1250,
        currency: 'EUR',
        approved_amount: 1250,
        method: 'card',
        channel: 'bank_a',
        terminal: `trm_${accepted.data.terminal_id}`,
        batch_number: '000001',
        trace_number: '000123',
        merchant_reference: 'table 7',
        card: { bin: '424242', last_four: '4242' },
        authorization_code: 'A1B2C3',
        rrn: '632812345678',
        decline_code: null,
        reason: null,
        answer: 'approved',
        void_requested: false,
        business_date: accepted.data.business_date,
        created_at: accepted.data.accepted_at,
        updated_at: approved.occurred_at,
        version: 2,
      },
    ],
    has_more: false,
    next_cursor: null,
  });

  const story = await query.get(`/v1/orders/ord_${accepted.order_id}`, key);
  expect(story.status).toBe(200);
  expect(story.body).toMatchObject({ ...list.body.data[0], device: { serial_number: 'S-1' }, window_closed: false });
  expect(story.body.events.map((told: { type: string; status: string }) => [told.type, told.status])).toEqual([
    ['accepted', 'processing'],
    ['approved', 'approved'],
  ]);
  expect(story.body.attempts).toEqual([
    {
      attempt: 1,
      state: 'approved',
      channel: 'bank_a',
      bank_reference: '…FE01',
      rrn: '632812345678',
      authorization_code: 'A1B2C3',
      bank_code: null,
      reason: null,
    },
  ]);
});

test('several events of one order in a batch: the last one is the row, each is in the story', async () => {
  const [accepted, approved] = approvedOrder();
  const orderId = accepted.order_id;
  const reversing = event(3, { orderId, type: 'reversing', state: { status: 'reversing', void_requested: true } });
  const reversed = event(4, { orderId, type: 'reversed', state: { status: 'reversed', void_requested: true } });
  expect(await query.deliver([accepted, approved, reversing, reversed])).toMatchObject({ applied: 4 });
  const { body } = await query.get(`/v1/orders/ord_${orderId}`, key);
  expect(body).toMatchObject({ status: 'reversed', version: 4, void_requested: true });
  expect(body.events.map((told: { version: number }) => told.version)).toEqual([1, 2, 3, 4]);
});

test('repeats have no effect; an event that came early waits for the one before it', async () => {
  const [accepted, approved] = approvedOrder();
  const early = await query.deliver([approved]);
  expect(early).toMatchObject({ applied: 0, held: 1 });
  expect(early.gaps).toContainEqual(
    expect.objectContaining({ order_id: accepted.order_id, after_version: 0, before_version: 2 }),
  );
  expect((await query.get(`/v1/orders/ord_${accepted.order_id}`, key)).status).toBe(404);
  await query.deliver([accepted]);
  expect(await query.deliver([accepted, approved])).toMatchObject({ applied: 0, repeated: 2 });
  expect((await query.get(`/v1/orders/ord_${accepted.order_id}`, key)).body).toMatchObject({
    status: 'approved',
    version: 2,
  });
});

test('a restored source tells versions again: what it replaced is gone from row and story', async () => {
  const [accepted, approved] = approvedOrder();
  const orderId = accepted.order_id;
  const reversing = event(3, { orderId, type: 'reversing', state: { status: 'reversing' } });
  await query.deliver([accepted, approved, reversing]);
  const declined = event(2, { orderId, generation: 2, type: 'declined', state: { status: 'declined' } });
  await query.deliver([accepted, declined]); // together, as the journal has them: no other version 2 is missing between
  const { body } = await query.get(`/v1/orders/ord_${orderId}`, key);
  expect(body).toMatchObject({ status: 'declined', version: 2 });
  expect(body.events.map((told: { type: string }) => told.type)).toEqual(['accepted', 'declined']);
});

test('pages follow each other without a gap or a repeat, by cursor and by Link', async () => {
  const merchantId = newMerchant();
  const apiKey = (await query.issueKey(merchantId)).api_key;
  const made = Array.from({ length: 25 }, () => event(1, { merchantId }));
  await query.deliver(made);
  const seen: string[] = [];
  let path = '/v1/orders?limit=10&status=processing';
  for (let page = 0; page < 3; page++) {
    const { body, headers } = await query.get(path, apiKey);
    seen.push(...body.data.map((order: { id: string }) => order.id));
    expect(body.has_more).toBe(page < 2);
    const link = /^<([^>]+)>; rel="next"$/.exec(headers.get('link') ?? '');
    expect(link === null).toBe(page === 2);
    if (link !== null) expect(link[1]).toContain(`starting_after=${body.next_cursor}`);
    path = link?.[1] ?? '';
  }
  expect(seen).toEqual(made.map(({ order_id }) => `ord_${order_id}`).reverse());
});
