// A topic that was wiped, on a real broker.
import { waitFor } from '@ballast/database/testing';
import { ordersTopic } from '@ballast/events/kafka';
import { describeKafka, startTestKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startForwarder } from './support/forwarder.ts';
import { startSource, type TestSource } from './support/source.ts';
import { started } from './support/started.ts';
import { startSubscriber } from './support/subscriber.ts';
import { wrongOrders } from './support/topic.ts';

describeKafka('a wiped topic', () => {
  let kafka: TestKafka;

  beforeAll(async () => {
    kafka = await startTestKafka();
  }, 120_000);

  afterAll(() => kafka.remove());

  /** A topic that was just made has no leaders for a moment. */
  const hasEverything = (source: TestSource) =>
    wrongOrders(kafka.connection(), source).then(
      (wrong) => wrong.length === 0,
      () => false,
    );

  /** Somebody's script: the topic is deleted and made again, and `records` strange ones are written to each partition. */
  async function wipe(records: number): Promise<void> {
    const client = new kafkajs.Kafka({ brokers: [...kafka.bootstrap], logLevel: kafkajs.logLevel.NOTHING });
    const [admin, producer] = [client.admin(), client.producer()];
    await admin.connect();
    const topic = ordersTopic.name;
    const partitions = Array.from({ length: ordersTopic.partitions }, (_, partition) => partition);
    await admin.deleteTopics({ topics: [topic] });
    await waitFor('the topic to be gone', async () => !(await admin.listTopics()).includes(topic), 20_000);
    const made = { topic, numPartitions: partitions.length, replicationFactor: 1 };
    await admin.createTopics({ topics: [made], waitForLeaders: false }); // kafkajs's own waiting gives up too soon
    await waitFor(
      'its leaders',
      () => admin.fetchTopicMetadata({ topics: [topic] }).then(Boolean, () => false),
      20_000,
    );
    await admin.disconnect();
    await producer.connect();
    for (const partition of partitions) {
      const messages = Array.from({ length: records }, () => ({ value: 'not ours', partition }));
      if (records > 0) await producer.send({ topic, messages });
    }
    await producer.disconnect();
  }

  test.each([
    ['and is empty', 0],
    ['and is longer than it was', 1_000],
  ])(
    'one that was wiped while no forwarder lived, %s, is filled again from the journal',
    async (_, records) => {
      const source = await started(startSource('wiped'));
      const subscriber = await started(startSubscriber('query'));
      const forwarder = await started(startForwarder({ source, subscribers: [subscriber], kafka: kafka.connection() }));
      const isComplete = () => hasEverything(source);
      await forwarder.live('kafka');
      await source.write(1_000);
      await waitFor('the topic to have everything', isComplete, 30_000);
      const stored = async () => {
        const { rows } = await forwarder.query(`select published from subscriber_feed where subscriber = 'kafka'`);
        return rows[0]?.published?.next_offsets.reduce((sum: number, next: number) => sum + next, 0) ?? 0;
      };
      await waitFor('that to be stored', async () => (await stored()) >= 1_000, 20_000);
      await forwarder.kill('SIGKILL');
      await wipe(records);
      expect(await isComplete()).toBe(false);
      await forwarder.start();
      await waitFor('the topic to have everything again', isComplete, 60_000);
    },
    180_000,
  );

  test('one that is deleted under a living forwarder is made again, and filled again', async () => {
    const source = await started(startSource('deleted'));
    const subscriber = await started(startSubscriber('query'));
    const forwarder = await started(startForwarder({ source, subscribers: [subscriber], kafka: kafka.connection() }));
    await forwarder.live('kafka');
    await source.write(1_000);
    const isComplete = () => hasEverything(source);
    await waitFor('the topic to have everything', isComplete, 30_000);
    const admin = new kafkajs.Kafka({ brokers: [...kafka.bootstrap], logLevel: kafkajs.logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.deleteTopics({ topics: [ordersTopic.name] });
    await admin.disconnect();
    await source.write(100);
    await waitFor('it to have everything again', isComplete, 90_000);
  }, 180_000);
});
