// What is wrong with a request: each row gets a 4xx problem with the field's pointer, and stores nothing.
import { createHmac } from 'node:crypto';
import pg from 'pg';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MERCHANT, type RunningCollection, runCollection } from './support/running-collection.ts';

let running: RunningCollection;

beforeAll(async () => {
  running = await runCollection({ label: 'bad_input' });
});
afterAll(() => running.close());

/** Signs and sends this text as it is. */
async function post(body: string, headers: Record<string, string> = {}, path = '/v1/payments') {
  const signed = running.terminal.sign('POST', path, body);
  const reply = await request(running.url + path, { method: 'POST', body, headers: { ...signed.headers, ...headers } });
  return {
    status: reply.statusCode,
    json: (await reply.body.json()) as { code: string; errors?: { pointer: string }[] },
  };
}

function saleText(change: Record<string, unknown>): string {
  return JSON.stringify({ ...running.sale(), ...change });
}

const card = (change: object) => ({
  payment_method: {
    type: 'card',
    number: '4242424242424242',
    expiry_month: 1,
    expiry_year: 2030,
    entry_mode: 'chip',
    ...change,
  },
});

describe('a payment is refused, naming the field, with', () => {
  test.each([
    ['amount 0', { amount: 0 }, '/amount'],
    ['amount -1', { amount: -1 }, '/amount'],
    ['amount "10"', { amount: '10' }, '/amount'],
    ['amount 2^53', { amount: 2 ** 53 }, '/amount'],
    ['amount null', { amount: null }, '/amount'],
    ['an unknown currency', { currency: 'XXX' }, '/currency'],
    ['a lower-case currency', { currency: 'eur' }, '/currency'],
    ['a currency not enabled', { currency: 'USD' }, '/currency'],
    ['a trace number of letters', { trace_number: 'abcdef' }, '/trace_number'],
    ['a trace number too short', { trace_number: '1' }, '/trace_number'],
    ['no time', { transaction_time: undefined }, '/transaction_time'],
    ['a time without an offset', { transaction_time: '2026-01-01T00:00:00' }, '/transaction_time'],
    ['a time of last year', { transaction_time: '2025-01-01T00:00:00Z' }, '/transaction_time'],
    [
      'a time of next week',
      { transaction_time: new Date(Date.now() + 7 * 86_400_000).toISOString() },
      '/transaction_time',
    ],
    ['a card number that fails Luhn', card({ number: '4242424242424241' }), '/payment_method/number'],
    ['a card number in Arabic digits', card({ number: '٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢' }), '/payment_method/number'],
    ['a month 13', card({ expiry_month: 13 }), '/payment_method/expiry_month'],
    ['another payment method', { payment_method: { type: 'cash' } }, '/payment_method/type'],
    ['an extra field', { livemode: true }, '/livemode'],
    ['an extra field inside', card({ approved: true }), '/payment_method/approved'],
    ['NUL in a text', { merchant_reference: 'a\u0000b' }, '/merchant_reference'],
    ['a line break in a text', { merchant_reference: 'a\r\nSet-Cookie: x' }, '/merchant_reference'],
    ['a lone surrogate', { merchant_reference: '\ud800' }, '/merchant_reference'],
    ['a text too long', { merchant_reference: 'x'.repeat(65) }, '/merchant_reference'],
    ['an empty text', { merchant_reference: '' }, '/merchant_reference'],
    [
      'too many discounts',
      { discounts: Array.from({ length: 21 }, () => ({ id: 'a', kind: 'coupon', amount: 1 })) },
      '/discounts',
    ],
    ['a discount of 0', { discounts: [{ id: 'a', kind: 'coupon', amount: 0 }] }, '/discounts/0/amount'],
    ['a list for a user', { user: [] }, '/user'],
  ])('%s', async (_name, change, pointer) => {
    const { status, json } = await post(saleText(change));
    expect({ status, pointer: json.errors?.[0]?.pointer }).toEqual({ status: 422, pointer });
  });

  test.each([
    ['1e2', '1e2'],
    ['1.5', '1.5'],
    ['100.0', '100.0'],
    ['-0', '-0'],
    ['1E+2', '1E+2'],
  ])('amount written %s', async (_name, amount) => {
    const { status, json } = await post(saleText({ amount: 77 }).replace('"amount":77', `"amount":${amount}`));
    expect({ status, pointer: json.errors?.[0]?.pointer }).toEqual({ status: 400, pointer: '/amount' });
  });

  test('2^63 for an amount', async () => {
    const { status, json } = await post(saleText({ amount: 77 }).replace(':77', ':9223372036854775808'));
    expect({ status, pointer: json.errors?.[0]?.pointer }).toEqual({ status: 422, pointer: '/amount' });
  });

  test('an amount given twice', async () => {
    const { status, json } = await post(saleText({}).replace('{', '{"amount":1,'));
    expect({ status, pointer: json.errors?.[0]?.pointer }).toEqual({ status: 400, pointer: '/amount' });
  });

  test('a body of half a megabyte', async () => {
    expect(await post(saleText({ merchant_reference: 'x'.repeat(500_000) }))).toMatchObject({ status: 413 });
  });
});

describe("a payment's own card number, track or code stands nowhere else:", () => {
  const track = '4242424242424242=30121010000000000000';
  const withTrack = card({ track2: track, pin_block: '0412AC89ABCDEF67' });
  const byCode = { payment_method: { type: 'code', code: '28Ab901234567890' } };

  test.each([
    ['in the reference', { merchant_reference: '4242424242424242' }, '/merchant_reference'],
    ['in groups', { merchant_reference: '4242 4242 4242 4242' }, '/merchant_reference'],
    ['with dashes', { merchant_reference: '4242-4242-4242-4242' }, '/merchant_reference'],
    ['with dots', { merchant_reference: '4242.4242.4242.4242' }, '/merchant_reference'],
    ['with what is not seen between', { merchant_reference: '42424242\u200b4242\u00a04242' }, '/merchant_reference'],
    ['grown together with its neighbours', { merchant_reference: 'ref4242424242424242x' }, '/merchant_reference'],
    ['among letters', { merchant_reference: '4242a4242b4242c4242' }, '/merchant_reference'],
    ['in Arabic digits', { merchant_reference: '٤٢٤٢ ٤٢٤٢ ٤٢٤٢ ٤٢٤٢' }, '/merchant_reference'],
    ['in Devanagari', { merchant_reference: '४२४२४२४२४२४२४२४२' }, '/merchant_reference'],
    ['in full width', { merchant_reference: '４２４２－４２４２－４２４２－４２４２' }, '/merchant_reference'],
    ['in circles', { merchant_reference: '④②④②④②④②④②④②④②④②' }, '/merchant_reference'],
    ['in mathematical digits', { merchant_reference: '𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐𝟒𝟐' }, '/merchant_reference'],
    ['as a user', { user: { id: '4242424242424242' } }, '/user/id'],
    ['as a phone', { user: { phone: '+4242424242424242' } }, '/user/phone'],
    ['as a serial number', { device: { serial_number: '4242-4242-4242-4242' } }, '/device/serial_number'],
    ['as a model', { device: { model: '4242424242424242' } }, '/device/model'],
    ['as a version', { device: { app_version: '4242.4242.4242.4242' } }, '/device/app_version'],
    ['as a discount', { discounts: [{ id: '4242424242424242', kind: 'points', amount: 1 }] }, '/discounts/0/id'],
    [
      'behind the comma of the second',
      { transaction_time: `${new Date().toISOString().slice(0, 19)}.4242424242424242Z` },
      '/transaction_time',
    ],
    ['the track', { ...withTrack, merchant_reference: `;${track}?` }, '/merchant_reference'],
    ['what stands behind the number in it', { ...withTrack, user: { id: '30121010000000000000' } }, '/user/id'],
    ['the PIN block', { ...withTrack, user: { id: '0412ac89 abcdef67' } }, '/user/id'],
    ['the code', { ...byCode, merchant_reference: '28ab-9012-3456-7890' }, '/merchant_reference'],
  ])('%s', async (_name, change, pointer) => {
    const { status, json } = await post(saleText(change));
    expect({ status, pointers: json.errors?.map((error) => error.pointer) }).toEqual({
      status: 422,
      pointers: [pointer],
    });
    expect(JSON.stringify(json)).not.toMatch(/4242|3012|AC89|28Ab/i);
  });

  test.each([
    ['Idempotency-Key', '4242-4242-4242-4242'],
    ['Idempotency-Key', 'pay4242424242424242'],
    ['X-Request-Id', 'pay4242424242424242'],
    ['X-Request-Id', '4242.4242.4242.4242'],
    ['traceparent', '00-00000000000000004242424242424242-00f067aa0ba902b7-01'],
  ])('in %s: %s', async (name, value) => {
    const body = saleText({});
    const key = name === 'Idempotency-Key' ? { idempotencyKey: value } : {};
    const signed = running.terminal.sign('POST', '/v1/payments', body, key);
    const headers = { ...signed.headers, [name.toLowerCase()]: value };
    const reply = await request(`${running.url}/v1/payments`, { method: 'POST', body, headers });
    const text = await reply.body.text();
    expect(JSON.parse(text)).toMatchObject({ status: 400, code: 'invalid_parameter', errors: [{ pointer: name }] });
    expect(text + JSON.stringify(reply.headers)).not.toMatch(/4242/);
  });

  test('in the name of a field, in an address, in a query: refused, and not said again', async () => {
    const named = await post(saleText({ 'card 4242 4242 4242 4242': true }));
    const path = '/v1/payments/4242.4242.4242.4242?pan=4242424242424242';
    const signed = running.terminal.sign('GET', path, '');
    const asked = await running.terminal.send(signed);
    const nowhere = await request(`${running.url}/v1/cards/4242424242424242`);
    expect([named.status, asked.status, nowhere.statusCode]).toEqual([422, 400, 404]);
    expect(JSON.stringify(named.json) + asked.text + (await nowhere.body.text())).not.toMatch(/4242/);
  });
});

describe('the words of an operator are refused, naming the field:', () => {
  const merchant = {
    name: 'Bakery',
    time_zone: 'Europe/Berlin',
    cutover: '00:00',
    currencies: ['EUR'],
    void_window_seconds: 0,
  };
  const order = '/admin/persons/ord_019a0000-0000-7000-8000-000000000001';
  const by = { merchant_id: MERCHANT, by: 'ann' };
  const proof = (text: string) => ({ ...by, outcome: 'reversed', proof: text });
  const pan = '4000 0566 5566 5556';

  test.each([
    ['PUT', `/admin/merchants/${MERCHANT}`, { ...merchant, name: `Bakery ${pan}` }, '/name'],
    ['PUT', `/admin/merchants/${MERCHANT}`, { ...merchant, name: 'a\u0000b' }, '/name'],
    ['PUT', '/admin/terminals/trm_019a0000-0000-7000-8000-0000000000a3', { merchant_id: MERCHANT, name: pan }, '/name'],
    ['POST', `${order}/settle`, proof(`reversed, card ${pan}`), '/proof'],
    ['POST', `${order}/settle`, proof('\ud800'), '/proof'],
    ['POST', `${order}/try-again`, { ...by, by: '4000056655665556' }, '/by'],
    ['POST', '/admin/days/retire-reader', { reader: 'a/b', by: 'ann', reason: `it sends ${pan}` }, '/reason'],
  ] as const)('%s %s %j', async (method, path, body, pointer) => {
    const reply = await running.admin(method, path, body);
    const { errors } = reply.json as { errors?: { pointer: string }[] };
    expect({ status: reply.status, pointer: errors?.[0]?.pointer }).toEqual({ status: 422, pointer });
  });

  test('but not with the numbers of a bank', async () => {
    const numbers = 'RRN 532914004242, ARN 74537604221222132710572, case 4242424242424241';
    expect(await running.admin('POST', `${order}/settle`, proof(numbers))).toMatchObject({ status: 409 });
  });
});

describe('headers are refused by name', () => {
  test('no Idempotency-Key', async () => {
    const body = saleText({});
    const { headers } = running.terminal.sign('POST', '/v1/payments', body);
    const { 'idempotency-key': _key, ...rest } = headers as Record<string, string>;
    const reply = await request(`${running.url}/v1/payments`, { method: 'POST', body, headers: rest });
    expect(await reply.body.json()).toMatchObject({ status: 401, code: 'signature_invalid' }); // the key is signed
  });

  test.each(['1999', '60001', '-1', '2e3', 'soon'])('Ballast-Deadline-Ms: %s', async (deadline) => {
    const body = saleText({});
    const signed = running.terminal.sign('POST', '/v1/payments', body, { deadlineMs: deadline as unknown as number });
    const reply = await request(`${running.url}/v1/payments`, { method: 'POST', body, headers: signed.headers });
    expect(await reply.body.json()).toMatchObject({ status: 400, errors: [{ pointer: 'Ballast-Deadline-Ms' }] });
  });

  test('an Idempotency-Key with a space, or too long', async () => {
    for (const key of ['a b', 'x'.repeat(129)]) {
      const body = saleText({});
      const signed = running.terminal.sign('POST', '/v1/payments', body, { idempotencyKey: key });
      const reply = await request(`${running.url}/v1/payments`, { method: 'POST', body, headers: signed.headers });
      expect(await reply.body.json()).toMatchObject({ status: 400, errors: [{ pointer: 'Idempotency-Key' }] });
    }
  });
});

describe('a signature', () => {
  async function sendWith(change: Record<string, string | undefined>) {
    const body = saleText({});
    const signed = running.terminal.sign('POST', '/v1/payments', body);
    const headers = Object.fromEntries(
      Object.entries({ ...signed.headers, ...change }).filter(([, value]) => value !== undefined),
    ) as Record<string, string>;
    const reply = await request(`${running.url}/v1/payments`, { method: 'POST', body, headers });
    return (await reply.body.json()) as { status: number; code: string };
  }

  test.each([
    ['missing', { 'ballast-signature': undefined }, 'signature_missing'],
    ['empty', { 'ballast-signature': '' }, 'signature_missing'],
    ['short', { 'ballast-signature': 'v1=abcd' }, 'signature_invalid'],
    ['not hexadecimal', { 'ballast-signature': `v1=${'z'.repeat(64)}` }, 'signature_invalid'],
    ['in capitals', { 'ballast-signature': `v1=${'A'.repeat(64)}` }, 'signature_invalid'],
    ['of another version', { 'ballast-signature': `v0=${'0'.repeat(64)}` }, 'signature_invalid'],
    ['all zero', { 'ballast-signature': `v1=${'0'.repeat(64)}` }, 'signature_invalid'],
    ['for another key', { 'idempotency-key': 'another' }, 'signature_invalid'],
    ['for another time', { 'ballast-timestamp': String(Math.floor(Date.now() / 1_000) - 7) }, 'signature_invalid'],
    ['with a time in words', { 'ballast-timestamp': 'now' }, 'signature_invalid'],
    [
      'of a terminal nobody knows',
      { 'ballast-terminal': 'trm_019a0000-0000-7000-8000-0000000000ff' },
      'signature_invalid',
    ],
    ['of a key nobody knows', { 'ballast-key-id': 'key_0' }, 'signature_invalid'],
    ['of an id with SQL in it', { 'ballast-key-id': "x'; drop table orders; --" }, 'signature_invalid'],
  ])('%s is refused', async (_name, change, code) => {
    expect(await sendWith(change)).toMatchObject({ status: 401, code });
  });

  test('an hour old is refused with the time of the server', async () => {
    const { json } = await running.admin('POST', '/admin/terminals/trm_019a0000-0000-7000-8000-0000000000a1/keys', {
      livemode: false,
    });
    const { key_id, secret } = json as { key_id: string; secret: string };
    const timestamp = String(Math.floor(Date.now() / 1_000) - 3_600);
    const emptyHash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    const path = '/v1/payments?batch_number=1&trace_number=000001';
    const text = [
      'v1',
      'trm_019a0000-0000-7000-8000-0000000000a1',
      key_id,
      timestamp,
      'GET',
      path,
      '',
      '',
      emptyHash,
    ].join('\n');
    const reply = await request(running.url + path, {
      headers: {
        'ballast-terminal': 'trm_019a0000-0000-7000-8000-0000000000a1',
        'ballast-key-id': key_id,
        'ballast-timestamp': timestamp,
        'ballast-signature': `v1=${createHmac('sha256', secret).update(text).digest('hex')}`,
      },
    });
    expect(await reply.body.json()).toMatchObject({
      status: 401,
      code: 'clock_skew',
      money_moved: 'see_order', // the same bytes may have been taken an hour ago
      detail: expect.stringContaining('T'),
    });
    await running.admin('DELETE', `/admin/terminals/trm_019a0000-0000-7000-8000-0000000000a1/keys/${key_id}`);
  });
});

test('nothing of all this was stored, sent to a bank, or a fault of ours', async () => {
  const client = new pg.Client(running.databaseUrl);
  await client.connect();
  const { rows } = await client.query(
    'select (select count(*) from orders)::int as orders, (select count(*) from payment_key)::int as keys',
  );
  await client.end();
  expect(rows).toEqual([{ orders: 0, keys: 0 }]);
  expect(running.books('bank_a')).toEqual([]);
  expect(running.log()).not.toMatch(/"level":"(error|fatal)"/);
  expect(running.log()).not.toMatch(/4242[ .-]?4242|4000[ ]?0566/);
});

test.each([
  ['the number of another card', '4000056655665556'],
  ['a number that passes the Luhn check', '1234567812345670'],
  ['most of its own number', '424242424242424'],
  ['a time and a till', '20261125-031405-000042'],
  ['many zeros', '0000000000000000000000000000000000000000000000000000000000004242'],
])('no false alarm: %s is taken for a reference', async (_name, reference) => {
  const reply = await running.terminal.pay(
    running.sale({
      merchant_reference: reference,
      user: { id: reference, phone: '+4915112345678' },
      payment_method: { ...running.sale().payment_method, cvv: '242' },
      amount: 1_000 + Number(reference.replaceAll(/[^0-9]/g, '').slice(-4)) + reference.length,
    }),
    { idempotencyKey: reference },
  );
  expect(reply).toMatchObject({ status: 201, json: { merchant_reference: reference } });
});
