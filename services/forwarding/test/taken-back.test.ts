// A subscriber without a second route, whose row of watermarks was broken: it is taken back to where it says it is, has everything,
// and proves again. Nothing that it is told on the way is false.
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 60_000;
const tables = ['effect', 'consumer_position', 'consumer_held', 'consumer_watermark', 'consumer_stream'];

async function flowing(label: string) {
  const source = await started(startSource(label));
  const subscriber = await started(startSubscriber('refund'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await source.write(200);
  await subscriber.complete(source);
  const watermark = async () => {
    const seen = subscriber.watermarks.length;
    await waitFor('a watermark', () => subscriber.watermarks.length > seen + 1, LIMIT_MS);
  };
  await watermark();
  /** It proves what is decided now, and all that it was told was true. */
  const provesAgain = async () => {
    const { rows } = await source.query('select clock_timestamp() as now');
    const proves = () => subscriber.watermarks.some(({ value }) => new Date(value) > rows[0].now);
    await waitFor('it to prove again', proves, LIMIT_MS);
    await subscriber.complete(source);
    expect(await subscriber.differences(source)).toEqual([]);
    expect(await subscriber.falseWatermarks(source)).toEqual([]);
  };
  return { source, subscriber, forwarder, watermark, provesAgain };
}

test.concurrent("the subscriber's database was restored: what it has lost comes again", async () => {
  const { source, subscriber, watermark, provesAgain } = await flowing('sub_restored');
  await subscriber.knex.raw(tables.map((table) => `create table backup_${table} as table ${table}`).join(';'));
  await source.write(200);
  await subscriber.complete(source);
  await watermark();
  await subscriber.down();
  await subscriber.knex.raw(
    tables.map((table) => `truncate ${table}; insert into ${table} table backup_${table}`).join(';'),
  );
  subscriber.watermarks.length = 0;
  await subscriber.up();
  await provesAgain();
}, 120_000);

test.concurrent("forwarding's own database was restored: the run it knows is not the one that was delivered", async () => {
  const { forwarder, source, provesAgain } = await flowing('own_restored');
  await forwarder.kill('SIGKILL');
  await forwarder.query(
    `update subscriber_feed set run = gen_random_uuid(), watermark = '2026-01-01T00:00:00.000000Z'`,
  );
  await source.write(100);
  await forwarder.start();
  await provesAgain();
}, 120_000);

test.concurrent('a run that begins while the generation is raised is joined to what the older one proves', async () => {
  const { forwarder, source, provesAgain } = await flowing('raised_between');
  await forwarder.kill('SIGKILL');
  await forwarder.query(
    'update subscriber_feed set run = gen_random_uuid(), watermark = null, covered_at = clock_timestamp()',
  );
  const { rows } = await source.query('select snapshot::text from journal_watermark order by id desc limit 1');
  await source.query(`select raise_generation(1, 2, $1, 'a test', 'ann')`, [rows[0].snapshot]);
  await source.write(100);
  await forwarder.start();
  await provesAgain();
}, 120_000);
