// A history was replaced by one that lacks the last events of some orders, and nothing happens to those since: nothing comes
// that would replace what subscribers have. The newer generation's watermark vouches for none of them before they are put right.
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { change, lose, sell, startShop, today } from './support/shop.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 60_000;

test('orders whose last event was lost are told again as they are now, before a watermark vouches for them', async () => {
  const source = await startShop('lost_tail');
  const subscriber = await started(startSubscriber('refund'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  const old = await sell(source, today, 20);
  const ids = await sell(source, today + 60_000, 20);
  await change(source, [...old, ...ids]);
  await subscriber.complete(source);
  const newest = async () => (await source.query('select max(id)::int as id from journal_watermark')).rows[0].id;
  const before = await newest();
  await waitFor('a watermark', async () => (await newest()) > before + 1);
  const { rows: marks } = await source.query('select snapshot::text from journal_watermark order by id desc limit 1');

  await change(source, ids); // approved, as everybody knows by now
  await subscriber.complete(source);
  const lost = ids.slice(0, 10);
  await lose(source, 'order_id = any($1::uuid[]) and version = 3', [lost]);
  await source.query(
    `update orders set version = 2, merchant_reference = 'version 2' where order_id = any($1::uuid[])`,
    [lost],
  );
  const waiting = async () =>
    (await subscriber.knex.raw('select count(*)::int as count from consumer_position where waits_for is not null'))
      .rows[0].count;
  const vouched: string[] = [];
  const placeOf = async () => {
    const { rows } = await subscriber.knex.raw(
      `select (select max(generation) from consumer_watermark where not exists
                (select from consumer_replaced where marked_up_to is not null)) as proven,
         max(version) as version, min(generation) as generation
       from consumer_position where order_id = any(?::uuid[])
         and waits_for is null`,
      [lost],
    );
    const [{ proven, version, generation }] = rows;
    if (proven === 2 && (version > 2 || generation === 1)) vouched.push(`version ${version} of ${generation}`);
    return `${proven} ${version} ${generation}`;
  };
  await source.query(`select raise_generation(1, 2, $1, 'a test', 'ann')`, [marks[0].snapshot]);
  await waitFor('the lost ones to be told again', async () => (await placeOf()) === '2 2 2', LIMIT_MS);
  await waitFor('nothing to wait', async () => (await waiting()) === 0, LIMIT_MS);
  expect(vouched).toEqual([]);
  const { rows } = await subscriber.knex.raw(
    `select order_id, array_agg(version order by n) as versions from effect where order_id = any(?::uuid[]) group by order_id`,
    [[...old, ...ids]],
  );
  const versionsOf = new Map(rows.map((row: { order_id: string; versions: number[] }) => [row.order_id, row.versions]));
  for (const id of lost) expect(versionsOf.get(id)).toEqual([2]);
  for (const id of ids.slice(10)) expect(versionsOf.get(id)).toEqual([1, 2, 3]);
  for (const id of old) expect(versionsOf.get(id)).toEqual([1, 2]);

  // They go on from there.
  await change(source, lost);
  const on = async () => {
    const { rows: places } = await subscriber.knex.raw(
      'select distinct version from consumer_position where order_id = any(?::uuid[])',
      [lost],
    );
    return places.length === 1 && places[0].version === 3;
  };
  await waitFor('them to go on', on, LIMIT_MS);
}, 120_000);
