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

const create = `create publication ballast_journal for table order_event, journal_watermark, generation_raised
                with (publish = 'insert', publish_via_partition_root = true)`;
const broken = [
  ['there is no publication', 'drop publication ballast_journal', create],
  [
    'lacks journal_watermark',
    'alter publication ballast_journal drop table journal_watermark',
    'alter publication ballast_journal add table journal_watermark',
  ],
  [
    'inserts and nothing else',
    `alter publication ballast_journal set (publish = 'insert, update')`,
    `alter publication ballast_journal set (publish = 'insert')`,
  ],
  [
    'partition root',
    'alter publication ballast_journal set (publish_via_partition_root = false)',
    'alter publication ballast_journal set (publish_via_partition_root = true)',
  ],
] as const;

test('a publication that goes wrong is noticed and named, and forwarding goes on when it is right again', async () => {
  const source = await started(startSource('refused'));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  const stateIs = (state: string) => async () => {
    const [found] = (await forwarder.list()).sources;
    return found?.state === state ? found : undefined;
  };
  for (const [round, [reason, breaking, repairing]] of broken.entries()) {
    await waitFor('the forwarder to lead', stateIs('leading'), 20_000);
    await source.query(breaking);
    expect((await waitFor(`"${reason}" to be noticed`, stateIs('misconfigured'), 20_000)).reason).toContain(reason);
    await source.write(20);
    await source.query(repairing);
    // Once it looks again by itself, which takes seconds; else it is told to.
    if (round > 0) await forwarder.post('/admin/subscribers/query/resume');
  }
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 90_000);

test('what was written while the publication was away is filled from the journal', async () => {
  const { source, subscriber, live } = await flowing('away');
  await source.query('drop publication ballast_journal');
  await source.write(200);
  await source.query(create);
  await live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);
