// The source knows how far each reader is without asking anybody: forwarding writes it there.
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource, type TestSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 40_000;

/** Whether that reader has everything that is in the journal now. */
async function isThrough(source: TestSource, subscriber: string): Promise<boolean> {
  const { rows } = await source.query(
    `select not exists (select from order_event where not pg_visible_in_snapshot(xid::text::xid8, has)) as through
     from journal_reader where reader = $1`,
    [`${source.slot}/${subscriber}`],
  );
  return rows[0]?.through ?? false;
}

test.concurrent('a reader that gets everything is through; one that gets nothing is not; a rebuild begins at nothing', async () => {
  const source = await started(startSource('told'));
  const [quick, dead] = [await started(startSubscriber('quick')), await started(startSubscriber('dead'))];
  await dead.down();
  await source.write(500);
  const forwarder = await started(startForwarder({ source, subscribers: [quick, dead] }));
  await forwarder.live('quick');
  await waitFor('the source to know', () => isThrough(source, 'quick'), LIMIT_MS);
  expect(await isThrough(source, 'dead')).toBe(false);
  await source.write(500);
  await waitFor('the source to know of the new ones', () => isThrough(source, 'quick'), LIMIT_MS);

  await quick.down();
  await forwarder.post('/admin/subscribers/quick/rebuild');
  await waitFor('the rebuild to hold everything', async () => !(await isThrough(source, 'quick')), LIMIT_MS);
  await quick.up();
  await dead.up();
  await waitFor(
    'both to be through',
    async () => (await isThrough(source, 'quick')) && isThrough(source, 'dead'),
    LIMIT_MS,
  );
}, 150_000);

test.concurrent('a reader that was retired and is delivered to again is said, until it is reinstated', async () => {
  const source = await started(startSource('retired'));
  const subscriber = await started(startSubscriber('query'));
  const reader = `${source.slot}/query`;
  await source.query(
    `insert into journal_reader (reader, has, covered_at, retired_at) values ($1, '1:1:', now(), now())`,
    [reader],
  );
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  const warnings = async () => (await forwarder.list()).sources[0]?.warnings.map(({ name }) => name).join();
  await waitFor('it to be said', async () => (await warnings()) === 'reader_retired', LIMIT_MS);
  expect(forwarder.log()).toContain(`nothing is kept any more for ${reader}`);
  await source.query('update journal_reader set retired_at = null');
  await waitFor('it to be over', async () => (await warnings()) === '', LIMIT_MS);
}, 90_000);

test.concurrent('a source that cannot be told is forwarded all the same', async () => {
  const source = await started(startSource('untold'));
  const subscriber = await started(startSubscriber('query'));
  await source.query('drop table journal_reader');
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await waitFor('the complaint', () => forwarder.log().includes('could not be told how far'), LIMIT_MS);
  await source.write(500);
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);
