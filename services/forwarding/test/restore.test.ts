// A source restored to an older state issues the same versions again with other content. What subscribers end with is what
// the journal holds, whoever writes first: collection, or the forwarder that is to raise the generation.
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { makeCluster } from './support/cluster.ts';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 60_000;

async function forwarded(label: string) {
  const cluster = await started(makeCluster(label));
  await cluster.start();
  await cluster.server().createDatabase('orders');
  const url = cluster.server().url('orders');
  const source = await started(startSource(label, { name: 'orders', url, drop: async () => undefined }));
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await source.write(200);
  await subscriber.complete(source);
  const backup = await cluster.backUp('backup');
  await source.append('lost');
  await source.append('lost too');
  await subscriber.complete(source);
  /** Nothing is acknowledged to anybody any more; then the files are those of the backup. */
  const restore = async () => {
    await cluster.kill();
    cluster.restore(backup);
    await cluster.start();
  };
  const equal = () =>
    waitFor(
      'the subscriber to hold what the journal holds',
      async () => (await subscriber.differences(source)).length === 0,
      LIMIT_MS,
    );
  return { cluster, source, subscriber, forwarder, restore, equal };
}

test('restored under a running forwarder: the same versions with other content replace what was lost', async () => {
  const { source, subscriber, forwarder, restore, equal } = await forwarded('restored');
  await restore();
  for (const text of ['written again', 'and again', 'and once more']) await source.append(text);
  await equal();
  const { rows } = await source.query('select generation from source_generation');
  expect(rows).toEqual([{ generation: 2 }]);
  await source.write(200);
  await source.append('after it');
  await forwarder.live();
  await equal();
  expect(await subscriber.differences(source)).toEqual([]);
}, 120_000);
