// A journal restored from a dump: its rows name transaction ids of another cluster, which this one has yet to give out, or
// gave out long ago.
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const FUTURE = 'pg_current_xact_id()::text::bigint + 1000000000 + version';
const PAST = '3 + version';

test('rows that name transactions of another cluster are delivered, from the journal and from the log', async () => {
  const source = await started(startSource('restored_journal'));
  await source.write(300);
  await source.append('from the past', PAST);
  await source.append('from the future', FUTURE);
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await subscriber.complete(source);
  await forwarder.live();
  await source.append('from the past, live', PAST);
  await source.append('from the future, live', FUTURE);
  await subscriber.complete(source);
  // It left the log, and comes back to it.
  await subscriber.down();
  await forwarder.kill('SIGKILL');
  await source.append('from the future, unseen', FUTURE);
  await source.write(100);
  await forwarder.start();
  await subscriber.up();
  await forwarder.live();
  await subscriber.complete(source);
  expect(await subscriber.differences(source)).toEqual([]);
}, 120_000);
