import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource, type TestSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber, type TestSubscriber } from './support/subscriber.ts';

/** Ends whoever reads the slot and takes it away before it is back; then does `work`, and lets it back in. */
async function stealSlot(source: TestSource, work: () => Promise<unknown>): Promise<void> {
  await waitFor('the slot to be stolen', async () => {
    await source.query('select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1', [
      source.slot,
    ]);
    return source.query('select pg_drop_replication_slot($1)', [source.slot]).then(
      () => true,
      () => false,
    );
  });
  await work();
}

async function flowing(
  label: string,
): Promise<{ source: TestSource; subscriber: TestSubscriber; live(): Promise<void> }> {
  const source = await started(startSource(label));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  return { source, subscriber, live: () => forwarder.live() };
}

test('a slot dropped under load is made anew, and nothing is lost or reordered', async () => {
  const { source, subscriber, live } = await flowing('dropped');
  const load = source.load(800);
  for (let times = 0; times < 3; times++) {
    const before = await subscriber.count();
    await waitFor('some deliveries', async () => (await subscriber.count()) > before + 300);
    await stealSlot(source, async () => undefined);
    const dropped = performance.now();
    const then = await subscriber.count();
    await waitFor('deliveries to go on', async () => (await subscriber.count()) > then + 50);
    expect(performance.now() - dropped).toBeLessThan(5_000);
  }
  await load.stop();
  await live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);

test('a slot made anew by a stranger, later in the log, is seen, and the journal fills what it skipped', async () => {
  const { source, subscriber, live } = await flowing('stranger');
  const load = source.load(500);
  await waitFor('some deliveries', async () => (await subscriber.count()) > 300);
  await stealSlot(source, async () => {
    await source.write(500);
    await source
      .query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [source.slot])
      .catch(() => undefined); // the forwarder was quicker, which is another test's case
  });
  await load.stop();
  await live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);

test("a slot of another kind under our slot's name is replaced", async () => {
  const source = await started(startSource('other'));
  await source.query(`select pg_create_logical_replication_slot($1, 'test_decoding')`, [source.slot]);
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await source.write(100);
  await waitFor('all events', async () => (await subscriber.count()) === 100);
  expect(forwarder.log()).toContain('its plugin is test_decoding');
});

test.each([
  ['there is none', 'drop publication ballast_journal', 'there is no publication'],
  ['it lacks a table', 'alter publication ballast_journal drop table journal_watermark', 'lacks journal_watermark'],
  [
    'it publishes updates',
    `alter publication ballast_journal set (publish = 'insert, update')`,
    'inserts and nothing else',
  ],
  [
    'it names partitions',
    'alter publication ballast_journal set (publish_via_partition_root = false)',
    'partition root',
  ],
])('a publication is refused when %s, also later, and named as the reason', async (_, breaking, reason) => {
  const source = await started(startSource('refused'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await source.query(breaking);
  const state = await waitFor('the refusal', async () => {
    const { sources } = await forwarder.list();
    return sources[0]?.state === 'misconfigured' ? sources[0] : undefined;
  });
  expect(state.reason).toContain(reason);
});

test('what was written while the publication was away is filled from the journal', async () => {
  const { source, subscriber, live } = await flowing('away');
  await source.query('drop publication ballast_journal');
  await source.write(200);
  await source.query(`create publication ballast_journal for table order_event, journal_watermark
                      with (publish = 'insert', publish_via_partition_root = true)`);
  await live();
  await waitFor('all events', async () => (await subscriber.count()) === 200, 20_000);
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);
