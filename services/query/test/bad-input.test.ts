// Whatever is sent, the answer is 4xx problem+json that names what is wrong: never 5xx, never a guess.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { approvedOrder, merchantA } from './support/events.ts';
import { startQuery, type TestQuery } from './support/query.ts';

let query: TestQuery;
let key: string;

beforeAll(async () => {
  query = await startQuery('bad_input');
  key = (await query.issueKey(merchantA)).api_key;
  await query.deliver(approvedOrder());
});
afterAll(() => query.stop());

const uuid = '019a0000-0000-7000-8000-000000000001';
const SQL = "' or 1=1; drop table merchant_order; --";

const refused: [parameter: string, value: string][] = [
  ['unknown', '1'],
  ['merchant_id', `mer_${uuid}`],
  ['livemode', 'true'],
  ['created', '2026-01-01T00:00:00Z'],
  ['created[lte]', '2026-01-01T00:00:00Z'],
  ['__proto__', 'x'],
  ['constructor', 'x'],
  ...['0', '201', '-1', '1.5', '1e2', '050', '', 'ten', '９', '9999999999999999999999', ' 5'].map(
    (value): [string, string] => ['limit', value],
  ),
  ...['0', '-1', '-0', '1.5', '1e2', '0x10', '+5', '12 ', '9007199254740992', '9223372036854775808', 'NaN'].map(
    (value): [string, string] => ['amount', value],
  ),
  ...['', 'yesterday', '2026-01-01', '2026-01-01T00:00:00', '2026-13-01T00:00:00Z', '2026-02-30T00:00:00Z'].map(
    (value): [string, string] => ['created[gte]', value],
  ),
  ['created[gte]', '0000-01-01T00:00:00Z'],
  ['created[lt]', '9999-12-31T23:59:59Z'],
  ['created[lt]', '2026-01-01T00:00:00.0001Z'],
  ['created[lt]', '2026-01-01T00:00:00+99:00'],
  ...['', '2026-02-30', '0000-01-01', '9999-01-01', '20260101', 'infinity'].map((value): [string, string] => [
    'business_date',
    value,
  ]),
  ...['', 'APPROVED', 'paid', SQL].map((value): [string, string] => ['status', value]),
  ...['', 'Bank A', SQL, 'a'.repeat(65)].map((value): [string, string] => ['channel', value]),
  ...['', uuid, `ord_${uuid}`, `trm_${uuid.toUpperCase()}`, 'trm_1', SQL].map((value): [string, string] => [
    'terminal',
    value,
  ]),
  ...['', uuid, `mer_${uuid}`, 'ord_', `ord_${uuid}0`, SQL].map((value): [string, string] => ['starting_after', value]),
  ...['', 'a\u0000b', 'a\u007fb', 'a\r\nb', 'x'.repeat(65)].map((value): [string, string] => [
    'merchant_reference',
    value,
  ]),
  ...['', '424', '42424', '42x4', '４２４２'].map((value): [string, string] => ['card_last_four', value]),
  ...['', '1234567', 'abc', '-1'].map((value): [string, string] => ['batch_number', value]),
  ...['', '12345', '1234567', '12345a'].map((value): [string, string] => ['trace_number', value]),
];

test.each(refused)('%s = %j is refused by name', async (parameter, value) => {
  const { status, headers, body } = await query.get(
    `/v1/orders?${encodeURIComponent(parameter)}=${encodeURIComponent(value)}`,
    key,
  );
  expect(status).toBe(400);
  expect(headers.get('content-type')).toContain('application/problem+json');
  expect(body).toMatchObject({ code: 'invalid_parameter', errors: [{ pointer: parameter }] });
});

test('a parameter given twice is refused by name', async () => {
  const { status, body } = await query.get('/v1/orders?status=approved&status=declined', key);
  expect(status).toBe(400);
  expect(body.errors).toEqual([expect.objectContaining({ pointer: 'status' })]);
});

test.each([
  '/v1/orders?merchant_reference=%ED%A0%80',
  '/v1/orders?merchant_reference=%FF%FE',
  '/v1/orders?merchant_reference=%',
  '/v1/orders?%00=1',
  '/v1/orders?merchant_reference=%E2%80%AEabc',
  `/v1/orders?merchant_reference=${encodeURIComponent(SQL)}`,
])('%s never breaks anything', async (path) => {
  const { status, body } = await query.get(path, key);
  expect([200, 400]).toContain(status);
  if (status === 200) expect(body.data).toEqual([]);
});

test.each([
  'ord_',
  uuid,
  `att_${uuid}`,
  `ord_${uuid.toUpperCase()}`,
  'ord_019a0000-0000-7000-8000-00000000000g',
  '%00',
  '%ED%A0%80',
  encodeURIComponent(SQL),
  'a'.repeat(500),
])('the order id %s is refused', async (id) => {
  const { status, body } = await query.get(`/v1/orders/${id}`, key);
  expect([400, 404]).toContain(status);
  expect(body).toMatchObject({ status });
});

test('a parameter on the story is refused by name', async () => {
  const { status, body } = await query.get(`/v1/orders/ord_${uuid}?expand=everything`, key);
  expect(status).toBe(400);
  expect(body.errors).toEqual([expect.objectContaining({ pointer: 'expand' })]);
});

test.each(['POST', 'PUT', 'DELETE', 'PATCH'])('%s on the orders is not allowed, and says what is', async (method) => {
  const response = await fetch(`${query.url}/v1/orders`, { method, headers: { authorization: `Bearer ${key}` } });
  expect(response.status).toBe(405);
  expect(response.headers.get('allow')).toContain('GET');
});

const newKey = { merchant_id: `mer_${merchantA}`, livemode: false, name: 'till' };
test.each<[unknown, string]>([
  [{ ...newKey, merchant_id: merchantA }, '/merchant_id'],
  [{ ...newKey, merchant_id: 7 }, '/merchant_id'],
  [{ ...newKey, livemode: 'true' }, '/livemode'],
  [{ ...newKey, name: '' }, '/name'],
  [{ ...newKey, name: 'a\u0000b' }, '/name'],
  [{ ...newKey, name: '\ud800' }, '/name'],
  [{ ...newKey, role: 'admin' }, '/role'],
  [{ merchant_id: newKey.merchant_id, name: 'till' }, '/livemode'],
  [[], ''],
  [null, ''],
])('a new key of %j is refused with the pointer', async (body, pointer) => {
  const { status, body: problem } = await query.admin('POST', '/admin/api-keys', body);
  expect(status).toBe(422);
  expect(problem.errors[0]).toMatchObject({ pointer });
});

test.each([
  ['no JSON', '{'],
  ['no object', '7'],
  ['no messages', '{}'],
  ['a broken sender', '{"messages":[{"kind":"gossip"}]}'],
  ['bad UTF-8', Buffer.from([0x22, 0xff, 0x22])],
])('a delivery that is %s is refused whole', async (_name, body) => {
  const response = await fetch(`${query.internalUrl}/deliveries`, {
    method: 'POST',
    headers: { authorization: 'Bearer delivery-token-of-tests', 'content-type': 'application/json' },
    body,
  });
  expect([400, 422]).toContain(response.status);
});
