// What people and scrapes see of the days, and the way out for a reader that is gone for good.
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RunningCollection, runCollection } from './support/running-collection.ts';

let running: RunningCollection;
let client: pg.Client;

beforeAll(async () => {
  running = await runCollection({ label: 'days' });
  client = new pg.Client(running.databaseUrl);
  await client.connect();
  await client.query(
    `insert into journal_reader (reader, has, covered_at, updated_at)
     values ('slot/dead', '5:5:', '2026-01-01T00:00:00Z', now() - interval '61 minutes')`,
  );
});
afterAll(async () => {
  await client.end();
  await running.close();
});

const days = async () => (await running.admin('GET', '/admin/days')).json as { held: unknown[]; readers: object[] };
const retire = (body: object) => running.admin('POST', '/admin/days/retire-reader', body);
const change = { reader: 'slot/dead', by: 'anna', reason: 'the points programme has ended' };

test('a reader is retired once, by name, with a reason; reinstated as well; and both stand in the audit', async () => {
  expect(await days()).toMatchObject({ held: [], readers: [{ reader: 'slot/dead', retired_at: null }] });
  expect(await retire(change)).toMatchObject({ status: 200 });
  expect(await retire(change)).toMatchObject({ status: 404 });
  expect((await days()).readers).toMatchObject([{ reader: 'slot/dead', retired_at: expect.stringMatching(/Z$/) }]);
  const back = { ...change, reason: 'it has not' };
  expect(await running.admin('POST', '/admin/days/reinstate-reader', back)).toMatchObject({ status: 200 });
  expect(await running.admin('POST', '/admin/days/reinstate-reader', back)).toMatchObject({ status: 404 });
  const { rows } = await client.query('select action, author, reason, has from journal_reader_change order by id');
  expect(rows).toEqual([
    { action: 'retired', author: 'anna', reason: change.reason, has: '5:5:' },
    { action: 'reinstated', author: 'anna', reason: back.reason, has: '5:5:' },
  ]);
  await expect(client.query('delete from journal_reader_change')).rejects.toMatchObject({ code: 'BL002' });
});

test.each([
  ['an unknown reader', { ...change, reader: 'slot/nobody' }, 404],
  ['no reason', { ...change, reason: '' }, 422],
  ['nobody', { ...change, by: '' }, 422],
  ['a field too much', { ...change, forced: true }, 422],
])('%s is refused', async (_what, body, status) => {
  expect(await retire(body)).toMatchObject({ status });
  expect((await days()).readers).toMatchObject([{ retired_at: null }]);
});

test('a reader that was heard of within the hour is not retired, unless that is meant', async () => {
  await client.query(`insert into journal_reader (reader, has, covered_at) values ('slot/alive', '5:5:', now())`);
  const alive = { ...change, reader: 'slot/alive' };
  expect(await retire(alive)).toMatchObject({ status: 409, json: { code: 'reader_heard_of' } });
  expect(await retire({ ...alive, force: true })).toMatchObject({ status: 200 });
});

test('a slot of which no reader is known can be named and retired, on purpose only', async () => {
  const slot = `tool_${process.pid}_${Date.now().toString(36)}`;
  await client.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [slot]);
  try {
    const tool = { ...change, reader: `${slot}/tool` };
    expect(await retire(tool)).toMatchObject({ status: 404 });
    expect(await retire({ ...tool, force: true })).toMatchObject({ status: 200 });
    expect(await retire({ ...tool, reader: `${slot}/another`, force: true })).toMatchObject({ status: 404 });
  } finally {
    await client.query('select pg_drop_replication_slot($1)', [slot]);
  }
});

test('a scrape shows how many days are made ahead, and how old the oldest is', async () => {
  const text = await (await fetch(`${running.internalUrl}/metrics`)).text();
  const value = (name: string) => Number(new RegExp(`^${name}\\{[^}]*\\} (.+)$`, 'm').exec(text)?.[1]);
  expect(value('ballast_days_ahead')).toBe(8);
  expect(value('ballast_days_oldest_seconds')).toBeGreaterThanOrEqual(2 * 86_400);
  expect(value('ballast_days_oldest_seconds')).toBeLessThan(3 * 86_400 + 60);
});
