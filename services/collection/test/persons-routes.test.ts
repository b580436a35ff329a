// The internal face: what is with a person and what a person can do about it, and the window that refund closes.
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MERCHANT, type RunningCollection, runCollection } from './support/running-collection.ts';

let running: RunningCollection;
let client: pg.Client;

beforeAll(async () => {
  running = await runCollection({ label: 'persons' });
  client = new pg.Client(running.databaseUrl);
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await running.close();
});

/** A reversal that nobody acknowledged, as the resolver leaves it. */
async function withPerson(): Promise<string> {
  const { json } = await running.terminal.pay(running.sale());
  const id = String(json['id']);
  const uuid = id.slice('ord_'.length);
  await client.query("update orders set status = 'reversing', work = null where order_id = $1", [uuid]);
  await client.query(`update attempt set state = 'needs_person', evidence = '{"httpStatus":500}' where order_id = $1`, [
    uuid,
  ]);
  await client.query(
    `insert into person_case (merchant_id, order_id, version, attempt_no, channel, reason, evidence)
     select merchant_id, order_id, 2, 1, channel, 'reversal_http_500', '{"httpStatus":500}' from orders where order_id = $1`,
    [uuid],
  );
  return id;
}

const settle = (id: string, body: object) => running.admin('POST', `/admin/persons/${id}/settle`, body);
const proof = { merchant_id: MERCHANT, by: 'anna', outcome: 'reversed', proof: 'letter of 24 November' };

test('a case is listed with its evidence and settled once, by proof', async () => {
  const id = await withPerson();
  const { status, json } = await running.admin('GET', '/admin/persons');
  expect(status).toBe(200);
  expect((json as { data: unknown[] }).data).toMatchObject([
    { order_id: id, merchant_id: MERCHANT, reason: 'reversal_http_500', evidence: { httpStatus: 500 }, amount: 1_250 },
  ]);
  expect(await settle(id, proof)).toMatchObject({ status: 200 });
  expect((await running.terminal.look(id)).json).toMatchObject({ status: 'reversed', answer: 'approved' });
  expect(await settle(id, proof)).toMatchObject({ status: 409, json: { code: 'not_with_person' } });
});

test('"try again" hands it back to the resolver', async () => {
  const id = await withPerson();
  const again = await running.admin('POST', `/admin/persons/${id}/try-again`, { merchant_id: MERCHANT, by: 'anna' });
  expect(again).toMatchObject({ status: 202 });
  await expect.poll(async () => (await running.terminal.look(id)).json['status'], { timeout: 10_000 }).toBe('reversed');
});

test.each([
  ['an outcome that is none', { ...proof, outcome: 'lost' }, '/outcome'],
  ['no proof', { ...proof, proof: '' }, '/proof'],
  ['nobody who decides', { ...proof, by: '' }, '/by'],
  ['more than is known', { ...proof, amount: 1 }, ''],
])('%s is refused', async (_name, body, pointer) => {
  const reply = await settle('ord_019a0000-0000-7000-8000-000000000001', body);
  expect(reply.status).toBe(422);
  expect((reply.json as { errors: { pointer: string }[] }).errors[0]?.pointer).toContain(pointer);
});

test('without the token nothing is shown', async () => {
  const reply = await fetch(`${running.internalUrl}/admin/persons`);
  expect(reply.status).toBe(401);
});

test('refund closes the window of an approved order; no void undoes it afterwards', async () => {
  const body = running.sale();
  const { json } = await running.terminal.pay(body);
  const close = () => running.admin('POST', `/admin/orders/${json['id']}/close-window`, { merchant_id: MERCHANT });
  const closed = await close();
  expect(closed).toMatchObject({
    status: 200,
    json: { order_id: json['id'], closed: true, status: 'approved', version: 3 },
  });
  expect(await close()).toEqual(closed);
  const { batch_number, trace_number } = body;
  expect(await running.terminal.cancel({ batch_number, trace_number })).toMatchObject({
    status: 409,
    json: { code: 'not_voidable' },
  });
});
