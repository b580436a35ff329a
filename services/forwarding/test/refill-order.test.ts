import { uuidv7 } from '@ballast/database';
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { openJournal } from '../src/delivery/journal.ts';
import { SEES_NOTHING } from '../src/delivery/snapshot.ts';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

test('an ascending refill hands out each event of an order once, in order, wherever its row stands', async () => {
  const source = await started(startSource('order'));
  await source.write(1);
  const orders = Array.from({ length: 20 }, () => uuidv7(Date.now()));
  /** Rows stand in the table as they are written; between two writes lie more blocks than are read at a time. */
  const put = async (...versions: number[]) => {
    for (const version of versions)
      await source.query(
        `insert into order_event (merchant_id, order_id, version, type, livemode, generation, data)
         select e.merchant_id, o, $2, e.type, e.livemode, e.generation, e.data
         from (select * from order_event order by order_id limit 1) e, unnest($1::uuid[]) o`,
        [orders, version],
      );
    await source.write(2_500, 500);
  };
  await put(2, 5);
  await put(7);
  await put(3, 4);
  await put(6, 1);
  const journal = await started(
    Promise.resolve(
      openJournal({
        source: 'collection',
        connectionString: source.url,
        applicationName: 'test',
        generation: 1,
        generationOf: (written) => written,
      }),
    ),
  );
  const refill = await journal.refill(SEES_NOTHING, true);
  const versions = new Map<string, number[]>();
  for await (const { events } of refill.pieces())
    for (const { order_id, version } of events) versions.set(order_id, [...(versions.get(order_id) ?? []), version]);
  for (const order of orders) expect(versions.get(order)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  for (const [order, some] of versions) expect(some, order).toEqual(some.map((_, index) => index + 1));
});

test('a feed that joins the log behind a refill repeats nothing of it', async () => {
  const source = await started(startSource('join'));
  const subscriber = await started(startSubscriber('query'));
  await source.write(3_000);
  const load = source.load(300);
  const forwarder = await started(startForwarder({ source, subscribers: [subscriber] }));
  await forwarder.live();
  await waitFor('some from the log', async () => (await subscriber.count()) > 3_500, 20_000);
  await load.stop();
  await subscriber.complete(source);
  const metrics = await (await fetch(`${forwarder.internalUrl}/metrics`)).text();
  expect(metrics).toMatch(/ballast_forwarding_repeats_total\{[^}]*\} 0\n/);
});
