// Whose orders a key opens: its merchant's, of its mode, until it is revoked, and nobody else's.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { approvedOrder, merchantA, merchantB } from './support/events.ts';
import { ADMIN_TOKEN, startQuery, type TestQuery } from './support/query.ts';

let query: TestQuery;
const orders = {
  aTest: approvedOrder({ merchantId: merchantA }),
  aLive: approvedOrder({ merchantId: merchantA, livemode: true }),
  bTest: approvedOrder({ merchantId: merchantB }),
  bLive: approvedOrder({ merchantId: merchantB, livemode: true }),
};
const idOf = (name: keyof typeof orders) => `ord_${orders[name][0].order_id}`;

beforeAll(async () => {
  query = await startQuery('access');
  await query.deliver(Object.values(orders).flat());
});
afterAll(() => query.stop());

test.each([
  ['aTest', merchantA, false],
  ['aLive', merchantA, true],
  ['bTest', merchantB, false],
  ['bLive', merchantB, true],
] as const)('the key for %s opens that order alone', async (mine, merchantId, livemode) => {
  const { api_key } = await query.issueKey(merchantId, livemode);
  expect(api_key).toMatch(livemode ? /^bk_live_/ : /^bk_test_/);
  const list = await query.get('/v1/orders', api_key);
  expect(list.body.data.map((order: { id: string }) => order.id)).toEqual([idOf(mine)]);
  for (const name of Object.keys(orders) as (keyof typeof orders)[]) {
    const { status, body } = await query.get(`/v1/orders/${idOf(name)}`, api_key);
    expect(status, name).toBe(name === mine ? 200 : 404);
    if (name !== mine) expect(body).toMatchObject({ code: 'not_found' });
  }
});

test("another merchant's order as a cursor opens nothing of it", async () => {
  const { api_key } = await query.issueKey(merchantA);
  const { status, body } = await query.get(`/v1/orders?starting_after=${idOf('bLive')}`, api_key);
  expect(status).toBe(200);
  for (const order of body.data) expect(order.id).toBe(idOf('aTest'));
});

test.each([
  ['no key', undefined],
  ['an unknown key', `bk_test_${'A'.repeat(43)}`],
  ['the admin token', ADMIN_TOKEN],
  ['the key of nothing', 'bk_test_'],
  ['a very long key', 'A'.repeat(4_000)],
])('%s is refused before anything is looked up', async (_name, key) => {
  for (const path of ['/v1/orders', `/v1/orders/${idOf('aTest')}`, '/v1/orders?limit=nonsense']) {
    const { status, body } = await query.get(path, key);
    expect(status).toBe(401);
    expect(body).toMatchObject({ code: 'api_key_invalid', errors: [{ pointer: 'Authorization' }] });
  }
});

test('a revoked key opens nothing from the next request on; revoking it again is 404', async () => {
  const { id, api_key } = await query.issueKey(merchantA);
  expect((await query.get('/v1/orders', api_key)).status).toBe(200);
  expect((await query.admin('DELETE', `/admin/api-keys/${id}`)).status).toBe(204);
  expect((await query.get('/v1/orders', api_key)).status).toBe(401);
  expect((await query.admin('DELETE', `/admin/api-keys/${id}`)).status).toBe(404);
});

test('keys stand in the database as hashes only', async () => {
  const { api_key } = await query.issueKey(merchantA);
  const { rows } = await query.knex.raw('select api_key::text as row from api_key');
  expect(rows.length).toBeGreaterThan(0);
  const secret = api_key.slice(8);
  for (const { row } of rows) {
    expect(row).not.toContain(secret);
    expect(row).not.toContain(Buffer.from(api_key).toString('hex'));
  }
});

test.each([
  ['POST', '/admin/api-keys'],
  ['DELETE', `/admin/api-keys/key_${randomUUID()}`],
  ['POST', '/admin/rebuild'],
  ['GET', '/admin/rebuild'],
  ['DELETE', '/admin/rebuild'],
  ['GET', '/admin/parked'],
  ['POST', `/admin/parked/${idOf('aTest')}/retry`],
  ['POST', '/deliveries'],
])("%s %s does not take a merchant's key, nor none", async (method, path) => {
  const { api_key } = await query.issueKey(merchantA, true);
  for (const headers of [{}, { authorization: `Bearer ${api_key}` }]) {
    const body = method === 'POST' && path === '/deliveries' ? { body: '{"messages":[]}' } : {};
    const response = await fetch(query.internalUrl + path, {
      method,
      headers: { ...headers, ...(body.body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...body,
    });
    expect(response.status).toBe(401);
  }
});

test('the public face knows nothing of deliveries, administration and metrics', async () => {
  const { api_key } = await query.issueKey(merchantA);
  for (const path of ['/deliveries', '/admin/api-keys', '/admin/rebuild', '/metrics', '/readyz'])
    expect((await query.get(path, api_key)).status, path).toBe(404);
});
