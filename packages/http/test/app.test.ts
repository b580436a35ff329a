import { connect } from 'node:net';
import { Problem, problems } from '@ballast/contracts';
import { createLogger, createMetrics } from '@ballast/telemetry';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type App, createApp, listen, problemReplies, requireBearer } from '../src/index.ts';

let app: App;
let url: string;

beforeAll(async () => {
  const logger = createLogger({ service: 'test', level: 'silent' });
  const metrics = createMetrics('test');
  const openapi = { title: 'T', version: '1', description: 'd' };
  app = await createApp({ service: 'test', face: 'public', logger, metrics, openapi });
  app.post(
    '/things/:id',
    {
      schema: {
        params: z.object({ id: z.string().max(20) }),
        body: z.strictObject({ amount: z.int().min(1), inner: z.strictObject({ name: z.string() }).optional() }),
        response: problemReplies('malformed_body', 'invalid_request'),
      },
    },
    async (call) => ({ amount: call.body.amount, raw: call.rawBody.toString() }),
  );
  app.get('/fails', async () => {
    throw new Error('secret detail');
  });
  app.get('/refuses', async () => {
    throw new Problem('rate_limited', 'Too many.', { retryAfterSeconds: 3 });
  });
  app.get('/guarded', { onRequest: requireBearer('the-token') }, async () => ({ ok: true }));
  url = await listen(app, { host: '127.0.0.1', port: 0 });
});
afterAll(() => app.close());

async function post(body: string | Buffer, headers: Record<string, string> = { 'content-type': 'application/json' }) {
  const reply = await request(`${url}/things/1`, { method: 'POST', body, headers });
  return {
    status: reply.statusCode,
    headers: reply.headers,
    body: (await reply.body.json()) as Record<string, unknown>,
  };
}

describe('a body', () => {
  test('is parsed, and its bytes are kept', async () => {
    const { status, body } = await post('{"amount": 5}');
    expect([status, body]).toEqual([200, { amount: 5, raw: '{"amount": 5}' }]);
  });

  test.each([
    ['1e2', '{"amount": 1e2}', '/amount'],
    ['100.0', '{"amount": 100.0}', '/amount'],
    ['1.5', '{"amount": 1.5}', '/amount'],
    ['-0', '{"amount": -0}', '/amount'],
    ['a key twice', '{"amount": 1, "amount": 2}', '/amount'],
    ['a key twice, one escaped', '{"amount": 1, "\\u0061mount": 2}', '/amount'],
    [
      'a key twice, after a string with quotes and backslashes',
      '{"inner": {"name": "a\\\\\\"\\\\"}, "amount": 1, "amount": 2}',
      '/amount',
    ],
    ['a key twice inside', '{"inner": {"name": "a", "name": "b"}, "amount": 1}', '/inner/name'],
    ['__proto__', '{"amount": 1, "__proto__": {"x": 1}}', '/__proto__'],
    ['a fraction in a list', '{"amount": [1, 2.5]}', '/amount/1'],
    ['no JSON', '{"amount": ', ''],
    ['nothing', '', ''],
    ['bad UTF-8', Buffer.from([0x22, 0xff, 0x22]), ''],
    ['a byte order mark', '\ufeff{"amount": 1}', ''],
    ['many levels', '['.repeat(5_000) + ']'.repeat(5_000), `${'/0'.repeat(16)}`],
  ])('with %s is refused with the pointer', async (_name, text, pointer) => {
    const { status, headers, body } = await post(text);
    expect(status).toBe(400);
    expect(headers['content-type']).toContain('application/problem+json');
    expect(body).toMatchObject({ code: 'malformed_body', money_moved: 'no', request_id: headers['x-request-id'] });
    if (pointer !== '') expect((body['errors'] as { pointer: string }[])[0]?.pointer).toBe(pointer);
  });

  test.each([
    ['a missing field', '{}', '/amount'],
    ['an unknown field', '{"amount": 1, "admin": true}', '/admin'],
    ['an unknown field inside', '{"amount": 1, "inner": {"name": "x", "y": 1}}', '/inner/y'],
    ['a string for a number', '{"amount": "10"}', '/amount'],
    ['an array', '[]', ''],
    ['null', 'null', ''],
  ])('with %s is refused with the pointer', async (_name, text, pointer) => {
    const { status, body } = await post(text);
    expect(status).toBe(422);
    expect(body).toMatchObject({ code: 'invalid_request', errors: [{ pointer }] });
  });

  test('of another type, or too large, is refused', async () => {
    expect(await post('a=1', { 'content-type': 'text/plain' })).toMatchObject({ status: 415 });
    expect(await post('{"amount": 1}', {})).toMatchObject({ status: 415 });
    expect(await post(`"${'x'.repeat(70_000)}"`)).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
  });
});

describe('every other trouble is a problem+json too', () => {
  test.each([
    ['GET', '/nowhere', 404, 'not_found'],
    ['GET', '/things/1', 405, 'method_not_allowed'],
    ['GET', '/fails', 500, 'internal'],
    ['GET', '/refuses', 429, 'rate_limited'],
    ['GET', '/guarded', 401, 'api_key_invalid'],
    ['GET', '/%zz', 400, 'invalid_parameter'],
  ] as const)('%s %s → %i %s', async (method, path, status, code) => {
    const reply = await request(url + path, { method });
    const text = await reply.body.text();
    expect(reply.statusCode).toBe(status);
    expect(JSON.parse(text)).toMatchObject({ code, status });
    expect(text).not.toContain('secret detail');
  });

  test.each([
    ['GET', '/cards/4242424242424242', undefined],
    ['GET', '/things/4242.4242.4242.4242', undefined],
    ['GET', '/%zz/4242-4242-4242-4242?x=4242424242424242', undefined],
    ['POST', '/things/1', '{"amount": 1, "card 4242 4242 4242 4242": 1}'],
    ['POST', '/things/1', '{"amount": 1, "4242424242424242": 1, "4242424242424242": 2}'],
  ] as const)('a card number in it is not said again: %s %s', async (method, path, body) => {
    const headers = { 'content-type': 'application/json', 'x-request-id': '4242-4242-4242-4242' };
    const reply = await request(url + path, { method, headers, body: body ?? null });
    const text = await reply.body.text();
    expect(reply.headers['content-type']).toContain('application/problem+json');
    expect(text).toContain('[card number removed]');
    expect(text).not.toContain('4242');
  });

  test('a retry is told when', async () => {
    const reply = await request(`${url}/refuses`);
    expect(reply.headers['retry-after']).toBe('3');
    await reply.body.dump();
  });

  test('bytes that are no HTTP are answered and the socket closed', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write('NONSENSE\r\n\r\n'));
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk;
      });
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1.1 400 [\s\S]*malformed_request[\s\S]*see_order/);
  });
});

test('the right bearer token opens', async () => {
  const reply = await request(`${url}/guarded`, { headers: { authorization: 'Bearer the-token' } });
  expect(reply.statusCode).toBe(200);
  await reply.body.dump();
});

test('a well-formed request id is kept, another replaced', async () => {
  const kept = await request(`${url}/nowhere`, { headers: { 'x-request-id': 'till-7.1' } });
  const replaced = await request(`${url}/nowhere`, { headers: { 'x-request-id': 'a b' } });
  expect(kept.headers['x-request-id']).toBe('till-7.1');
  expect(replaced.headers['x-request-id']).toMatch(/^[0-9a-f]{12}-/);
  await Promise.all([kept.body.dump(), replaced.body.dump()]);
});

test('the description is OpenAPI 3.1 and readable', async () => {
  const description = (await (await request(`${url}/openapi.json`)).body.json()) as Record<string, unknown>;
  expect(description['openapi']).toBe('3.1.0');
  expect(Object.keys(description['paths'] as object)).toContain('/things/{id}');
  const docs = await request(`${url}/docs/`);
  expect(docs.statusCode).toBe(200);
  await docs.body.dump();
});

test('every code has its place on the page that problems point to', async () => {
  const page = await (await request(`${url}/docs/problems`)).body.text();
  expect(Object.keys(problems).filter((code) => !page.includes(`id="${code}"`))).toEqual([]);
});

test('an address off loopback is refused without TLS or a trusted proxy', async () => {
  await expect(listen(app, { host: '0.0.0.0', port: 0 })).rejects.toThrow('without TLS');
});
