// An order whose event nobody has any more waits for ever: whoever is on call must see it as long as it does.
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { lose } from './support/shop.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

test('a gap that cannot be filled is counted as long as it is open, however much is delivered meanwhile', async () => {
  const source = await started(startSource('open_gap'));
  await source.write(300);
  const { rows } = await source.query('select order_id from order_event where version = 2 limit 1');
  await lose(source, 'order_id = $1 and version = 1', [rows[0].order_id]);
  const subscriber = await started(startSubscriber('query'));
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  const gaps = async () => (await forwarder.list()).subscribers[0]?.open_gaps ?? Number.NaN;
  await waitFor('the gap to be counted', async () => (await gaps()) === 1, 20_000);
  await forwarder.live();

  const load = source.load(500);
  const before = await subscriber.count();
  const counted = new Set<number>();
  await waitFor(
    'deliveries to go on',
    async () => {
      counted.add(await gaps());
      return (await subscriber.count()) > before + 1_500;
    },
    30_000,
  );
  await load.stop();
  expect(Math.min(...counted)).toBe(1);
}, 60_000);
