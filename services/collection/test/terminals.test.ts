// What a terminal sees over HTTP, and what provisioning changes about it.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTerminal } from '../../../scripts/system/terminal.ts';
import { MERCHANT, type RunningCollection, runCollection, TERMINAL } from './support/running-collection.ts';

const DECLINED = '4000000000000002';
let running: RunningCollection;

beforeAll(async () => {
  running = await runCollection({
    label: 'terminals',
    banks: [{ name: 'bank_a' }, { name: 'bank_live', livemode: true }],
  });
});
afterAll(() => running.close());

describe('a payment', () => {
  test('is approved once; the same bytes again get the same answer', async () => {
    const signed = running.terminal.sign('POST', '/v1/payments', JSON.stringify(running.sale()));
    const first = await running.terminal.send(signed);
    const again = await running.terminal.send(signed);
    expect(first).toMatchObject({ status: 201, json: { status: 'approved', livemode: false, amount: 1_250 } });
    expect(first.headers['location']).toBe(`/v1/payments/${first.json['id']}`);
    expect(again.text).toBe(first.text);
    expect(again.headers['idempotent-replayed']).toBe('true');
  });

  test('with a short card number shows so little of it that five digits stay hidden', async () => {
    const body = running.sale();
    const payment_method = { ...body.payment_method, number: '501800000009' };
    const reply = await running.terminal.pay({ ...body, payment_method });
    expect(reply).toMatchObject({ status: 201, json: { card: { bin: '501', last_four: '0009' } } });
  });

  test('declined by the bank is an answer, not an error', async () => {
    const body = running.sale();
    const reply = await running.terminal.pay({ ...body, payment_method: { ...body.payment_method, number: DECLINED } });
    expect(reply).toMatchObject({ status: 201, json: { status: 'declined', decline_code: 'insufficient_funds' } });
  });

  test.each([
    ['/amount', { amount: 1_251 }],
    ['/currency', { currency: 'JPY' }],
    ['/merchant_reference', { merchant_reference: 'other' }],
    ['/user/id', { user: { id: 'other' } }],
    ['/trace_number', { trace_number: '999999' }],
    [
      '/payment_method/number',
      {
        payment_method: {
          type: 'card',
          number: '4000056655665556',
          expiry_month: 12,
          expiry_year: 2030,
          entry_mode: 'chip',
        },
      },
    ],
  ])('with something else under the same key is refused naming %s', async (pointer, change) => {
    const body = running.sale();
    const idempotencyKey = randomUUID();
    await running.terminal.pay(body, { idempotencyKey });
    const reply = await running.terminal.pay({ ...body, ...change }, { idempotencyKey });
    expect(reply.status).toBe(422);
    expect((reply.json['errors'] as { pointer: string }[]).map((error) => error.pointer)).toContain(pointer);
  });

  test('with the number of another payment is refused', async () => {
    const body = running.sale();
    await running.terminal.pay(body);
    expect(await running.terminal.pay(body)).toMatchObject({
      status: 422,
      json: { code: 'trace_number_reused', errors: [{ pointer: '/trace_number' }] },
    });
  });

  test('is found by its id and by its number, by its own terminal only', async () => {
    const body = running.sale();
    const paid = await running.terminal.pay(body);
    const path = `/v1/payments?batch_number=${body.batch_number}&trace_number=${body.trace_number}`;
    const byNumber = await running.terminal.send(running.terminal.sign('GET', path, ''));
    expect(byNumber).toMatchObject({ status: 200, json: { id: paid.json['id'], status: 'approved' } });

    const other = 'trm_019a0000-0000-7000-8000-0000000000a2';
    await running.admin('PUT', `/admin/terminals/${other}`, { merchant_id: MERCHANT, name: 'till 2' });
    const { json } = await running.admin('POST', `/admin/terminals/${other}/keys`, { livemode: false });
    const stranger = createTerminal({
      url: running.url,
      key: { terminal_id: other, ...(json as { key_id: string; secret: string }) },
    });
    // Not known to it, not known yet, known no more: none of these says that no money was moved.
    const unknown = { status: 404, json: { code: 'payment_unknown', money_moved: 'see_order' } };
    expect(await stranger.look(paid.json['id'] as string)).toMatchObject(unknown);
    expect(await stranger.send(stranger.sign('GET', path, ''))).toMatchObject(unknown);
  });

  test('of a live key goes to live channels only', async () => {
    const { json } = await running.admin('POST', `/admin/terminals/${TERMINAL}/keys`, { livemode: true });
    const { key_id, secret } = json as { key_id: string; secret: string };
    const live = createTerminal({ url: running.url, key: { terminal_id: TERMINAL, key_id, secret } });
    expect(await live.pay(running.sale())).toMatchObject({ status: 201, json: { livemode: true, status: 'approved' } });
    expect(running.books('bank_live')).toHaveLength(1);
    expect(running.books('bank_a').every((entry) => entry.livemode === false)).toBe(true);
    await running.admin('DELETE', `/admin/terminals/${TERMINAL}/keys/${key_id}`);
  });
});

describe('a terminal key', () => {
  test('can be changed without a pause: two at once, and no third', async () => {
    const issue = () => running.admin('POST', `/admin/terminals/${TERMINAL}/keys`, { livemode: false });
    const second = await issue();
    expect(second.status).toBe(201);
    expect(await issue()).toMatchObject({ status: 409, json: { code: 'already_exists' } });
    const { key_id, secret } = second.json as { key_id: string; secret: string };
    const renewed = createTerminal({ url: running.url, key: { terminal_id: TERMINAL, key_id, secret } });
    const paid = renewed.sign('POST', '/v1/payments', JSON.stringify(running.sale()));
    expect(await renewed.send(paid)).toMatchObject({ status: 201, json: { status: 'approved' } });
    expect(await running.terminal.pay(running.sale())).toMatchObject({ status: 201 });
    expect(await running.admin('DELETE', `/admin/terminals/${TERMINAL}/keys/${key_id}`)).toMatchObject({ status: 204 });
    expect(await renewed.send(paid)).toMatchObject({
      status: 401,
      json: { code: 'signature_invalid', money_moved: 'see_order' }, // it was taken while the key was live
    });
  });
});

describe('provisioning', () => {
  const merchant = {
    name: 'X',
    time_zone: 'Europe/Paris',
    cutover: '00:00',
    currencies: ['EUR'],
    void_window_seconds: 0,
  };

  test.each([
    ['PUT', '/admin/merchants/mer_1', merchant, 400, 'id'],
    ['PUT', `/admin/merchants/${MERCHANT}`, { ...merchant, time_zone: 'Mars/Olympus' }, 422, '/time_zone'],
    ['PUT', `/admin/merchants/${MERCHANT}`, { ...merchant, cutover: '24:00' }, 422, '/cutover'],
    ['PUT', `/admin/merchants/${MERCHANT}`, { ...merchant, currencies: [] }, 422, '/currencies'],
    ['PUT', `/admin/merchants/${MERCHANT}`, { ...merchant, role: 'admin' }, 422, '/role'],
    [
      'PUT',
      `/admin/merchants/${MERCHANT}/routes`,
      { routes: [{ channel: 'bank_z', method: 'card', merchant_number: '1', terminal_number: '1' }] },
      422,
      '/routes/0/channel',
    ],
    [
      'PUT',
      '/admin/terminals/trm_019a0000-0000-7000-8000-0000000000a9',
      { merchant_id: 'mer_019a0000-0000-7000-8000-0000000000ff', name: 'x' },
      404,
      '/merchant_id',
    ],
    ['POST', '/admin/terminals/trm_019a0000-0000-7000-8000-0000000000a8/keys', { livemode: 'yes' }, 422, '/livemode'],
  ] as const)('%s %s is refused naming the field', async (method, path, body, status, pointer) => {
    const reply = await running.admin(method, path, body);
    expect({
      status: reply.status,
      pointer: (reply.json as { errors?: { pointer: string }[] }).errors?.[0]?.pointer,
    }).toEqual({ status, pointer });
  });

  test('needs the token', async () => {
    const reply = await fetch(`${running.internalUrl}/admin/merchants`, {
      headers: { authorization: 'Bearer nonsense-nonsense' },
    });
    expect(reply.status).toBe(401);
    await reply.body?.cancel();
  });

  test('lists merchants with their routes', async () => {
    expect(await running.admin('GET', '/admin/merchants')).toMatchObject({
      status: 200,
      json: { has_more: false, data: [{ merchant_id: MERCHANT }] },
    });
    expect(await running.admin('GET', `/admin/merchants/${MERCHANT}`)).toMatchObject({
      json: { routes: [{ channel: 'bank_a' }, { channel: 'bank_live' }] },
    });
  });
});

test('the committed openapi.json is what is served (vitest -u writes it anew)', async () => {
  const reply = await fetch(`${running.url}/openapi.json`);
  await expect(`${JSON.stringify(await reply.json(), null, 2)}\n`).toMatchFileSnapshot('../openapi.json');
});

test('no card number, security code or secret is in the log or readable in the database', async () => {
  const body = running.sale({ user: { phone: '+4915112345678' } });
  await running.terminal.pay({
    ...body,
    payment_method: { ...body.payment_method, cvv: '987', track2: '4242424242424242=30121010000000000000' },
  });
  const client = new pg.Client(running.databaseUrl);
  await client.connect();
  const { rows } = await client.query(
    `select coalesce(string_agg(t::text, e'\\n'), '') as text from (
       select o::text as t from orders o union all select a::text from attempt a union all select e::text from order_event e
       union all select k::text from terminal_key k) as everything`,
  );
  await client.end();
  const everything = rows[0].text + running.log();
  expect(everything.length).toBeGreaterThan(1_000);
  expect(everything).not.toContain('4242424242424242');
  expect(everything).not.toContain(Buffer.from('4242424242424242').toString('hex'));
  expect(everything).not.toContain('4915112345678');
  expect(everything).not.toMatch(/"?cvv"?|track2|=3012101/);
  expect(everything).not.toContain(running.terminal.sign('GET', '/', '').headers['ballast-signature']);
});
