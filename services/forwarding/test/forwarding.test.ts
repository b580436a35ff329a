import { waitFor } from '@ballast/database/testing';
import { afterEach, expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { startSubscriber } from './support/subscriber.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async (context) => {
  // A failing test leaves its databases behind.
  for (const cleanup of cleanups.splice(0).reverse()) if (context.task.result?.state !== 'fail') await cleanup();
});

async function started<T extends { close(): Promise<void> }>(starting: Promise<T>): Promise<T> {
  const running = await starting;
  cleanups.push(() => running.close());
  return running;
}

test('every committed event is delivered once in effect and in order, byte for byte', async () => {
  const source = await started(startSource('flow'));
  const subscriber = await started(startSubscriber('query'));
  await source.write(500); // before there is a slot: they come from the journal
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await source.write(3_000);
  await waitFor('all events', async () => (await subscriber.count()) >= 3_500);
  await forwarder.live();
  await source.write(1_000, 1);
  await waitFor('all events', async () => (await subscriber.count()) >= 4_500);
  expect(await subscriber.differences(source)).toEqual([]);
  const { rows } = await subscriber.knex.raw('select distinct text from effect');
  expect(rows).toEqual([{ text: 'Ünïcode "quoted" \\ 😀' }]);
});
