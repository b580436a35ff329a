// Watermarks are written by forwarding, and must not vouch for what the log leaves out.
import pg from 'pg';
import { expect, test } from 'vitest';
import { readWatermark } from '../src/journal/journal.sql.ts';
import { openHeartbeat } from '../src/lead/heartbeat.ts';
import { readPublication } from '../src/source/source.sql.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';

async function openScene(label: string) {
  const source = await started(startSource(label));
  const client = new pg.Client({ connectionString: source.url, options: '-c TimeZone=UTC -c DateStyle=ISO' });
  await client.connect();
  await started(Promise.resolve({ close: () => client.end() }));
  const publication = 'ballast_journal';
  const { state } = await readPublication(client, publication);
  const beat = openHeartbeat({ client, node: 'collection', slot: source.slot, publication, state });
  const written = async () => {
    const { rows } = await client.query('select count(*)::int as count from journal_watermark');
    return rows[0].count as number;
  };
  return { source, client, state, beat, written };
}

test('a publication that was changed since it was looked at gets no watermark, also when it is right again', async () => {
  const { source, state, beat, written } = await openScene('left_out');
  expect((await beat()).watermark).not.toBeNull();
  await source.query('alter publication ballast_journal drop table order_event');
  await source.write(20); // the log leaves it out
  await source.query('alter publication ballast_journal add table order_event');
  const { watermark, publication } = await beat();
  expect([watermark, await written()]).toEqual([null, 1]);
  expect(publication.wrong).toBeNull();
  expect(publication.state).not.toBe(state);
});

test('one that is dropped gets none either', async () => {
  const { source, beat, written } = await openScene('dropped_publication');
  await source.query('drop publication ballast_journal');
  const { watermark, publication } = await beat();
  expect([watermark, await written()]).toEqual([null, 0]);
  expect(publication.wrong).toContain('there is no publication');
});

test("the newest of its own node is read from the table, whatever others' stand there", async () => {
  const { source, client, beat } = await openScene('nodes');
  const value = (await beat()).watermark?.value;
  await source.query(`insert into journal_watermark (node, value) values ('another', now() + interval '1 year')`);
  expect(await readWatermark(client, 'collection')).toBe(value);
  expect(await readWatermark(client, 'a third')).toBeUndefined();
});

test('a clock that went back: nothing is vouched for, and no snapshot is dated, before it is where it was', async () => {
  const { source, beat, written } = await openScene('clock');
  const { rows } = await source.query(
    `insert into journal_watermark (node, value, written_at)
     values ('collection', clock_timestamp() + interval '1 hour', clock_timestamp() + interval '1 hour')
     returning (extract(epoch from written_at) * 1000)::float8 as was`,
  );
  const behind = await beat();
  expect([behind.watermark, behind.held, await written()]).toEqual([null, expect.stringContaining('clock'), 1]);
  expect(behind.checkpoint.at).toBe(rows[0].was);
  expect(Math.abs(behind.clockOffset)).toBeLessThan(60_000);
  await source.query(`update journal_watermark set written_at = clock_timestamp()`);
  expect(await beat()).toMatchObject({ held: null, watermark: { value: expect.any(String) } });
});

test('a role that does not see what others have open vouches for nothing', async () => {
  const { source, state, written } = await openScene('hidden');
  const role = `blind_${process.pid}`;
  await source.query(`create role ${role} login password 'blind'`);
  await source.query(`grant all on all tables in schema public to ${role}`);
  const paying = new pg.Client({ connectionString: source.url });
  await paying.connect();
  await paying.query('begin; select now()'); // decided already, and not committed
  const url = new URL(source.url);
  Object.assign(url, { username: role, password: 'blind' });
  const client = new pg.Client({ connectionString: url.href, options: '-c TimeZone=UTC -c DateStyle=ISO' });
  await client.connect();
  const publication = 'ballast_journal';
  const beat = openHeartbeat({ client, node: 'collection', slot: source.slot, publication, state });
  const blind = await beat();
  await source.query(`grant pg_read_all_stats to ${role}`);
  const sees = await beat();
  const { rows } = await paying.query<{ began: string }>('select now()::text as began');
  await Promise.all([paying.end(), client.end()]);
  await source.query(`drop owned by ${role}`);
  await source.query(`drop role ${role}`);
  expect([blind.watermark, blind.held]).toEqual([null, expect.stringContaining('pg_read_all_stats')]);
  expect(sees).toMatchObject({ held: null, watermark: { value: expect.any(String) } });
  expect(Date.parse(sees.watermark?.value ?? '')).toBeLessThanOrEqual(Date.parse(rows[0]?.began ?? ''));
  expect(await written()).toBe(1);
});
