// One broker, and what goes wrong with it: killed, its answer lost, its topic wiped, gone for good.
import { waitFor } from '@ballast/database/testing';
import { describeKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureTopics, openKafkaConsumer, openPublisher, ordersTopic, PublishFailed } from '../src/kafka/index.ts';
import { clientOf, event, events, fold, orderId, quiet, readAll, testKafka, versionsByOrder } from './support/kafka.ts';
import { type CuttingProxy, startCuttingProxy } from './support/tcp-proxy.ts';

describeKafka('a broker that fails', () => {
  let proxy: CuttingProxy;
  let kafka: TestKafka;
  beforeAll(async () => {
    proxy = await startCuttingProxy();
    kafka = await testKafka({ brokers: 1, advertisedPorts: [proxy.port] }, (ports) => proxy.pointTo(ports[0] ?? 0));
  });
  afterAll(async () => {
    await kafka.remove();
    await proxy.close();
  });

  test('killed in the middle of sending: every record is there once, each order contiguous', async () => {
    const publisher = await openPublisher({ connection: kafka.connection(), logger: quiet, giveUpAfterMs: 30_000 });
    const sent = events(200, 20_000);
    let acknowledged = 0;
    const flights = new Set<Promise<void>>();
    const sending = (async () => {
      for (let from = 0; from < sent.length; from += 500) {
        const flight: Promise<void> = publisher.publish(sent.slice(from, from + 500)).then(() => {
          acknowledged += 500;
          flights.delete(flight);
        });
        flights.add(flight);
        if (flights.size >= 4) await Promise.race(flights);
      }
      await Promise.all(flights);
    })();
    await waitFor('a quarter acknowledged', () => acknowledged >= 5_000);
    await kafka.kill(0);
    expect(acknowledged).toBeLessThan(sent.length);
    await kafka.restart(0);
    await sending;
    await publisher.close();
    const orders = versionsByOrder(await readAll(kafka.connection()));
    expect(orders.size).toBe(200);
    for (const versions of orders.values())
      expect(versions).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
  }, 120_000);

  test('acknowledgements cut off after the append: sent again unchanged, there once', async () => {
    const publisher = await openPublisher({ connection: kafka.connection(), logger: quiet });
    await publisher.publish([event(5_000, 1)]);
    for (let version = 2; version <= 4; version++) {
      proxy.cutAnswers(1);
      await publisher.publish(
        Array.from({ length: 30 }, (_, order) => event(5_000 + order, order === 0 ? version : version - 1)),
      );
    }
    await publisher.close();
    expect(proxy.cuts()).toBe(3);
    const orders = versionsByOrder(await readAll(kafka.connection()));
    expect(orders.get(orderId(5_000))).toEqual([1, 2, 3, 4]);
    for (let order = 1; order < 30; order++) expect(orders.get(orderId(5_000 + order))).toEqual([1, 2, 3]);
  });

  test('topics wiped: the publisher notices, and consumers go on with what is published again', async () => {
    const connection = kafka.connection();
    const seen: string[] = [];
    const reading = await openKafkaConsumer({
      connection,
      logger: quiet,
      group: 'ballast.query',
      deliver: async (messages) => {
        for (const { id } of messages as { id: string }[]) seen.push(id);
        return { applied: messages.length, repeated: 0, held: 0, parked: 0, gaps: [], progress: [] };
      },
      askForGaps: async () => {},
    });
    const publisher = await openPublisher({ connection, logger: quiet });
    await publisher.publish(events(50, 500));
    await waitFor('everything before', () => seen.includes(`${orderId(49)}:10:1`));

    const admin = clientOf(connection).client.admin();
    await admin.connect();
    await admin.deleteTopics({ topics: [ordersTopic.name] });
    await admin.disconnect();
    await ensureTopics(connection, 1, quiet);
    const journal = [...events(50, 500), ...events(50, 550).slice(500)];
    const failure = await publisher.publish(journal.slice(500)).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(PublishFailed);
    expect((failure as PublishFailed).reason).toBe('topic_wiped');

    const next = await openPublisher({ connection, logger: quiet });
    await next.publish(journal);
    await next.close();
    const orders = versionsByOrder(await readAll(connection));
    expect(orders.size).toBe(50);
    // The refused batch may stand before or behind what was published again: a consumer that folds is complete.
    for (const versions of orders.values()) expect(fold(versions).last).toBe(11);
    await waitFor('the new events', () => seen.includes(`${orderId(49)}:11:1`), 20_000);
    await reading.close();
  }, 120_000);

  test('a broker that answers nothing, then is gone: the publisher fails in time, and says that the outcome is unknown', async () => {
    const publisher = await openPublisher({ connection: kafka.connection(), logger: quiet, giveUpAfterMs: 500 });
    await publisher.publish([event(6_000, 1)]);
    await kafka.pause(0);
    const started = performance.now();
    const failure = await publisher.publish([event(6_000, 2)]).catch((error: unknown) => error);
    expect((failure as PublishFailed).reason).toBe('gave_up');
    expect(performance.now() - started).toBeLessThan(2_000);
    await expect(publisher.publish([event(6_000, 3)])).rejects.toThrow(PublishFailed);
    await publisher.close();
    await kafka.kill(0);
    await expect(openPublisher({ connection: kafka.connection(), logger: quiet })).rejects.toThrow();
  }, 120_000);
});
