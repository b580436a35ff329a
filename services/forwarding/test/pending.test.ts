// How much a subscriber lacks: counted where it is known, estimated where it stands in the journal, and never "nothing" where
// nobody knows.
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 20_000;

test('a subscriber that is dead or paused lacks what was written meanwhile, and more with every event', async () => {
  const source = await started(startSource('pending'));
  await source.write(1_000);
  const subscriber = await started(startSubscriber('query'));
  await subscriber.down();
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  const feed = async () => (await forwarder.list()).subscribers[0];
  const pending = async () => (await feed())?.pending_events ?? 0;
  const inMetrics = async () => {
    const text = await (await fetch(`${forwarder.internalUrl}/metrics`)).text();
    return text.match(/^ballast_forwarding_pending_events\{.*\} (.*)$/m)?.[1];
  };
  // It has taken nothing yet, and nobody has looked how much there is.
  await waitFor('it to fail', async () => (await feed())?.state === 'failing', LIMIT_MS);
  expect(await feed()).toMatchObject({ pending_events: null, seconds_to_clear: null });
  expect(await inMetrics()).toBeUndefined();

  await subscriber.up();
  await forwarder.live();
  await waitFor('nothing to be pending', async () => (await feed())?.pending_events === 0, LIMIT_MS);
  expect(await feed()).toMatchObject({ seconds_to_clear: 0 });

  await forwarder.post('/admin/subscribers/query/pause');
  await waitFor('it to be paused', async () => (await feed())?.state === 'paused', LIMIT_MS);
  await source.write(500);
  await waitFor('what it lacks to be counted', async () => (await pending()) >= 500, LIMIT_MS);
  expect(Number(await inMetrics())).toBeGreaterThanOrEqual(500);

  await subscriber.down();
  await forwarder.post('/admin/subscribers/query/resume');
  await waitFor('it to fail', async () => (await feed())?.state === 'failing', LIMIT_MS);
  expect(await feed()).toMatchObject({ reading: 'journal' });
  expect(await pending()).toBeGreaterThanOrEqual(500);
  await source.write(300);
  await waitFor('those too', async () => (await pending()) >= 800, LIMIT_MS);

  await subscriber.up();
  await forwarder.live();
  await subscriber.complete(source);
  await waitFor('nothing to be pending', async () => (await feed())?.pending_events === 0, LIMIT_MS);
}, 60_000);
