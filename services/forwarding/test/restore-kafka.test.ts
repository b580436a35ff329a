// A source that was restored, with a real broker: the topic keeps what was lost and what replaced it, and its readers end with
// what the journal holds.
import { waitFor } from '@ballast/database/testing';
import { describeKafka, startTestKafka } from '@ballast/infra-kafka/testing';
import { expect, test } from 'vitest';
import { makeCluster } from './support/cluster.ts';
import { startForwarder } from './support/forwarder.ts';
import { startSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';

const LIMIT_MS = 60_000;

describeKafka('a restored source', () => {
  test('on the route of the topic: its readers take back what was lost', async () => {
    const kafka = await startTestKafka();
    // With a pid, like everything that is stopped also after a test that failed.
    await started(Promise.resolve({ pid: kafka.pid(0), close: () => kafka.remove() }));
    const cluster = await started(makeCluster('topic'));
    await cluster.start();
    await cluster.server().createDatabase('orders');
    const url = cluster.server().url('orders');
    const source = await started(startSource('topic', { name: 'orders', url, drop: async () => undefined }));
    const subscriber = await started(startSubscriber('query'));
    const forwarder = await started(startForwarder({ source, subscribers: [subscriber], kafka: kafka.connection() }));
    await subscriber.readTopic(kafka.connection(), forwarder);
    const byKafka = async () => (await forwarder.list()).sources[0]?.route === 'kafka';
    await source.write(200);
    await waitFor('the route to be kafka', byKafka, LIMIT_MS);
    await subscriber.complete(source);
    const backup = await cluster.backUp('backup');
    await source.append('lost');
    await source.append('lost too');
    await subscriber.complete(source);
    await cluster.kill();
    cluster.restore(backup);
    await cluster.start();
    for (const text of ['written again', 'and again', 'and once more']) await source.append(text);
    const equal = async () => (await subscriber.differences(source)).length === 0;
    await waitFor('the subscriber to hold what the journal holds', equal, LIMIT_MS);
    await waitFor('the route to be kafka again', byKafka, LIMIT_MS);
    await source.append('after it');
    await waitFor('the same by the topic', equal, LIMIT_MS);
    expect((await source.query('select generation from source_generation')).rows).toEqual([{ generation: 2 }]);
  }, 240_000);
});
