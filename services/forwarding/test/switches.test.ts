import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { type RunningForwarder, startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

async function flowing(label: string) {
  const source = await started(startSource(label));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await source.write(300);
  await waitFor('all events', async () => (await subscriber.count()) === 300);
  await forwarder.live();
  return { source, subscriber, forwarder };
}

async function toBe(forwarder: RunningForwarder, state: string): Promise<void> {
  await waitFor(`the feed to be ${state}`, async () => (await forwarder.list()).subscribers[0]?.state === state);
}

test.concurrent('a paused subscriber gets nothing, and everything when it is resumed; a restart does not resume it', async () => {
  const { source, subscriber, forwarder } = await flowing('paused');
  expect((await forwarder.post('/admin/subscribers/query/pause')).status).toBe(202);
  await toBe(forwarder, 'paused');
  await source.write(400);
  await forwarder.kill('SIGKILL');
  await forwarder.start();
  await toBe(forwarder, 'paused');
  await source.write(100);
  expect(await subscriber.count()).toBe(300);
  await forwarder.post('/admin/subscribers/query/resume');
  await forwarder.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
});

test.concurrent('a disabled subscriber never gets what came meanwhile', async () => {
  const { source, subscriber, forwarder } = await flowing('disabled');
  await forwarder.post('/admin/subscribers/query/disable');
  await toBe(forwarder, 'disabled');
  await source.write(200);
  const written = Date.now();
  await waitFor('a checkpoint after them', async () => {
    const lag = (await forwarder.list()).subscribers[0]?.lag_seconds ?? Number.POSITIVE_INFINITY;
    return Date.now() - lag * 1_000 > written + 100;
  });
  await forwarder.post('/admin/subscribers/query/resume');
  await forwarder.live();
  await source.write(100);
  await waitFor('what came afterwards', async () => (await subscriber.count()) >= 400);
  expect(await subscriber.count()).toBe(400);
});

test.concurrent('a rebuild delivers the whole journal again, in order, and goes on', async () => {
  const { source, subscriber, forwarder } = await flowing('rebuild');
  await subscriber.knex.raw(
    'truncate effect, consumer_position, consumer_held, consumer_parked, consumer_watermark, consumer_stream',
  );
  const load = source.load(300);
  expect((await forwarder.post('/admin/subscribers/query/rebuild')).status).toBe(202);
  await waitFor('the rebuild to finish', async () => (await forwarder.list()).subscribers[0]?.rebuild.finished === 1);
  await load.stop();
  await forwarder.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
});

test.concurrent('a subscriber that is disabled in the middle of a rebuild gets all of it when it is resumed', async () => {
  const { source, subscriber, forwarder } = await flowing('rebuilding');
  await subscriber.down();
  await subscriber.knex.raw(
    'truncate effect, consumer_position, consumer_held, consumer_parked, consumer_watermark, consumer_stream',
  );
  await forwarder.post('/admin/subscribers/query/rebuild');
  const rebuild = async () => (await forwarder.list()).subscribers[0]?.rebuild;
  await waitFor('it to have begun', async () => (await rebuild())?.asked === 1);
  await forwarder.post('/admin/subscribers/query/disable');
  await toBe(forwarder, 'disabled');
  await source.write(100);
  await subscriber.up();
  await forwarder.post('/admin/subscribers/query/resume');
  await waitFor('the rebuild to finish', async () => (await rebuild())?.finished === 1);
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
});

test.concurrent('after a subscriber was disabled no watermark claims what it was not given, until it is rebuilt', async () => {
  const { source, subscriber, forwarder } = await flowing('dropped');
  await forwarder.post('/admin/subscribers/query/disable');
  await toBe(forwarder, 'disabled');
  await source.write(200);
  const { rows } = await source.query('select clock_timestamp() as written');
  const covered = async () => {
    const { rows: stored } = await forwarder.query('select covered_at from subscriber_feed');
    return stored[0].covered_at > rows[0].written;
  };
  await waitFor('them to be dropped', covered, 20_000);
  await forwarder.post('/admin/subscribers/query/resume');
  await forwarder.live();
  await source.write(100);
  await waitFor('what came afterwards', async () => (await subscriber.count()) >= 400);
  // It proves no more, and yet is not taken back to what was dropped on purpose.
  const beats = async () => (await source.query('select max(id)::int as id from journal_watermark')).rows[0].id;
  const last = await beats();
  await waitFor('its feed to have been patient', async () => (await beats()) > last + 8, 30_000);
  expect(await subscriber.count()).toBe(400);
  expect(subscriber.watermarks.filter(({ value }) => new Date(value) > rows[0].written)).toEqual([]);
  await forwarder.post('/admin/subscribers/query/rebuild');
  await waitFor('a watermark again', () =>
    subscriber.watermarks.some(({ value }) => new Date(value) > rows[0].written),
  );
  expect(await subscriber.falseWatermarks(source)).toEqual([]);
});

test.concurrent('a switch of an unknown subscriber is refused, and any switch without the token', async () => {
  const source = await started(startSource('unknown'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  for (const action of ['pause', 'resume', 'disable', 'rebuild']) {
    expect((await forwarder.post(`/admin/subscribers/nobody/${action}`)).status).toBe(404);
    expect((await forwarder.post(`/admin/subscribers/query/${action}`, 'wrong')).status).toBe(401);
  }
});

test.concurrent('metrics show lag, pending events and what the slot keeps', async () => {
  const { forwarder } = await flowing('metrics');
  const text = await (await fetch(`${forwarder.internalUrl}/metrics`)).text();
  expect(text).toMatch(/ballast_forwarding_lag_seconds\{[^}]*subscriber="query"[^}]*\} 0/);
  expect(text).toMatch(/ballast_forwarding_pending_events\{[^}]*subscriber="query"[^}]*\} \d/);
  expect(text).toMatch(/ballast_slot_retained_bytes\{[^}]*source="collection"[^}]*\} \d+/);
  expect(text).toMatch(/ballast_forwarding_source_state\{[^}]*state="leading"[^}]*\} 1/);
});
