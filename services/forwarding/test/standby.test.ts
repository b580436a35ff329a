import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

async function pair(label: string) {
  const source = await started(startSource(label));
  const subscriber = await started(startSubscriber('query'));
  const first = await started(startForwarder({ source, subscribers: [subscriber] }));
  await first.live();
  const second = await started(
    startForwarder({ source, subscribers: [subscriber], instance: 'forwarding-2', databaseUrl: first.databaseUrl }),
  );
  await waitFor('the second to stand by', async () => (await second.list()).sources[0]?.state === 'standby');
  return { source, subscriber, first, second };
}

test('a standby takes over within two seconds of a crash', async () => {
  const { source, subscriber, first, second } = await pair('crash');
  const load = source.load(500);
  await waitFor('some deliveries', async () => (await subscriber.count()) > 300);
  await first.kill('SIGKILL');
  const crashed = performance.now();
  await waitFor('the second to lead', async () => (await second.list()).sources[0]?.state === 'leading');
  expect(performance.now() - crashed).toBeLessThan(2_000);
  await load.stop();
  await second.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);

test('a frozen leader loses the slot within six seconds, and does no harm when it wakes', async () => {
  const { source, subscriber, first, second } = await pair('frozen');
  const load = source.load(500);
  await waitFor('some deliveries', async () => (await subscriber.count()) > 300);
  await first.kill('SIGSTOP');
  const frozen = performance.now();
  await waitFor('the second to lead', async () => (await second.list()).sources[0]?.state === 'leading');
  expect(performance.now() - frozen).toBeLessThan(6_000);
  first.wake();
  await waitFor('the first to stand by', async () => (await first.list()).sources[0]?.state === 'standby');
  await load.stop();
  await second.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 60_000);
