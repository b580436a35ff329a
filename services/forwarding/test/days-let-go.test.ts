// The source lets old days and old watermarks go (collection's expire-days.ts, other forwarders of the same source): what is
// gone that way is not a history that was replaced, and a rebuild does not pass over a day that may come back.
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { lose, lowest, nameOf, sell, startShop, today, yesterday } from './support/shop.ts';
import { startSource, type TestSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 60_000;

test.each([
  {
    what: 'watermarks were pruned, since another forwarder writes its own',
    letGo: async (source: TestSource) => {
      await source.query(
        `insert into journal_watermark (node, value) select 'another', now() from generate_series(1, 10)`,
      );
      await source.query('delete from journal_watermark where id <= (select max(id) - 5 from journal_watermark)');
    },
  },
  {
    what: 'the day of the last event was dropped',
    letGo: async (source: TestSource) => {
      await source.query('insert into expired_day (day, dropped_at) values (to_timestamp($1)::date, now())', [
        today / 1_000,
      ]);
      await lose(source, 'true');
    },
  },
])(
  '$what: it is the same history',
  async ({ letGo }) => {
    const source = await started(startSource('let_go'));
    const subscriber = await started(startSubscriber('query'));
    const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
    await forwarder.live();
    await source.write(40);
    await subscriber.complete(source);
    await forwarder.kill('SIGTERM'); // its last positions are stored
    await letGo(source);
    await forwarder.start();
    await forwarder.live();
    expect((await source.query('select generation from source_generation')).rows).toEqual([{ generation: 1 }]);
    expect(forwarder.log()).not.toContain('the history of the source was replaced');
  },
  90_000,
);

test('a rebuild does not pass over a day that is on its way out: it may be attached again', async () => {
  const source = await startShop('on_its_way');
  const subscriber = await started(startSubscriber('query'));
  const old = await sell(source, yesterday, 50);
  await sell(source, today, 50);
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await subscriber.complete(source);

  const tables = ['orders', 'order_event'];
  await source.query('insert into expired_day (day) values (to_timestamp($1)::date)', [yesterday / 1_000]);
  for (const table of tables)
    await source.query(`alter table ${table} detach partition ${table}_${nameOf(yesterday)} concurrently`);
  await subscriber.knex.raw('truncate effect, consumer_position');
  await forwarder.post('/admin/subscribers/query/rebuild');
  await waitFor('the rebuild to wait for it', () => forwarder.log().includes('is letting a day go'), LIMIT_MS);
  for (const table of tables)
    await source.query(
      `alter table ${table} attach partition ${table}_${nameOf(yesterday)} for values from ('${lowest(yesterday)}') to ('${lowest(today)}')`,
    );
  await source.query('delete from expired_day');
  await subscriber.complete(source);
  const { rows } = await subscriber.knex.raw('select 1 from effect where order_id = any(?)', [old]);
  expect(rows).toHaveLength(50);
}, 90_000);
