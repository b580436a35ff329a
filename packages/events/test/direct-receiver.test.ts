import { openDatabase } from '@ballast/database';
import { freshDatabase } from '@ballast/database/testing';
import fastify from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { migrateConsumer, openConsumer, registerDirectReceiver } from '../src/index.ts';
import { newOrderId, orderEvent } from './support/events.ts';

const app = fastify();
let close: () => Promise<void>;
let url: string;

beforeAll(async () => {
  const database = await freshDatabase('receiver');
  const knex = openDatabase({ url: database.url, applicationName: 'receiver test', poolMax: 2 });
  await migrateConsumer(knex);
  const logger = { warn: () => undefined, error: () => undefined };
  const consumer = openConsumer({ name: 'test', knex, logger, apply: async () => undefined });
  registerDirectReceiver(app, { consumer, token: 'secret' });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
  close = async () => {
    await app.close();
    await knex.destroy();
    await database.drop();
  };
});

afterAll(() => close());

function post(body: string, authorization = 'Bearer secret'): Promise<Response> {
  const headers = { 'content-type': 'application/json', authorization };
  return fetch(`${url}/deliveries`, { method: 'POST', headers, body });
}

test('a delivery is answered with what became of it', async () => {
  const reply = await post(JSON.stringify({ messages: [orderEvent(newOrderId(), 1), orderEvent(newOrderId(), 2)] }));
  expect(reply.status).toBe(200);
  expect(await reply.json()).toMatchObject({ applied: 1, repeated: 0, held: 1, gaps: [{ after_version: 0 }] });
});

test.each(['', 'Bearer', 'Bearer wrong', 'Bearer secret2', 'secret'])(
  'authorization "%s" is refused',
  async (header) => {
    expect((await post('{"messages":[]}', header)).status).toBe(401);
  },
);

test.each([
  ['{"messages":{}}', 422],
  ['{}', 422],
  ['[]', 422],
  ['{"messages":[{"kind":"event"}]}', 422],
  ['{"messages":', 400],
])('the body %s is refused', async (body, status) => {
  expect((await post(body)).status).toBe(status);
});
