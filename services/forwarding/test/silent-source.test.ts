// A source whose machine vanishes without closing a connection: nothing comes any more, and nothing says so.
import { startProxy, waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 20_000;

test('a forwarder that hears nothing any more lets go within seconds, and another one takes over', async () => {
  const source = await started(startSource('silent'));
  const { hostname, port } = new URL(source.url);
  const proxy = await started(startProxy({ host: hostname, port: Number(port) }));
  const through = new URL(source.url);
  through.port = String(proxy.port);
  const subscriber = await started(startSubscriber('query'));
  const cutOff = await started(
    startForwarder({ source, subscribers: [subscriber], sourceUrls: [through.href], instance: 'cut-off' }),
  );
  await cutOff.live();
  const other = await started(
    startForwarder({ source, subscribers: [subscriber], databaseUrl: cutOff.databaseUrl, instance: 'other' }),
  );
  await waitFor('the other to stand by', async () => (await other.list()).sources[0]?.state === 'standby', LIMIT_MS);
  const load = source.load(200);
  proxy.holdAnswers();
  const silent = performance.now();
  await waitFor('the other to lead', async () => (await other.list()).sources[0]?.state === 'leading', LIMIT_MS);
  expect(performance.now() - silent).toBeLessThan(15_000);
  await load.stop();
  await other.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
  // It waits for its server, not for its dead connections.
  await cutOff.kill('SIGTERM');
}, 90_000);

test('a forwarder goes on within seconds when its source is heard again', async () => {
  const source = await started(startSource('heard'));
  const { hostname, port } = new URL(source.url);
  const proxy = await started(startProxy({ host: hostname, port: Number(port) }));
  const through = new URL(source.url);
  through.port = String(proxy.port);
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber], sourceUrls: [through.href] }));
  await forwarder.live();
  proxy.holdAnswers();
  await waitFor(
    'silence to be noticed',
    async () => (await forwarder.list()).sources[0]?.state === 'waiting',
    LIMIT_MS,
  );
  await source.write(100);
  proxy.release();
  const heard = performance.now();
  await subscriber.complete(source);
  expect(performance.now() - heard).toBeLessThan(10_000);
}, 90_000);
