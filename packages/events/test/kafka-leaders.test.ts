// What a publisher makes of what the cluster says of itself, with a peer that says what the test wants.
import { waitFor } from '@ballast/database/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openCluster } from '../src/kafka/cluster.ts';
import { openPublisher, ordersTopic, PublishFailed } from '../src/kafka/index.ts';
import { partitionOf } from '../src/kafka/topics.ts';
import { event, orderId, quiet } from './support/kafka.ts';
import { type ScriptedBroker, startScriptedBroker } from './support/scripted-broker.ts';

let broker: ScriptedBroker;
beforeEach(async () => {
  broker = await startScriptedBroker(ordersTopic.name, ordersTopic.partitions);
});
afterEach(() => broker.close());

test('who needs a node at the same time shares one link, also when the last one broke', async () => {
  const cluster = await openCluster({ brokers: [broker.address] }, ordersTopic);
  const before = await cluster.link(1);
  broker.hangUp();
  await waitFor('the link to be noticed broken', () => !before.open);
  const linked = broker.connections();
  const [one, other] = await Promise.all([cluster.link(1), cluster.link(1)]);
  expect(one).toBe(other);
  expect(broker.connections()).toBe(linked + 1);
  cluster.close();
  await waitFor('the shared link to be closed', () => !one.open);
});

test('a link that could not be made is tried again', async () => {
  const cluster = await openCluster({ brokers: [broker.address] }, ordersTopic);
  const before = await cluster.link(1);
  const { address } = broker;
  broker.close();
  await waitFor('the link to be noticed broken', () => !before.open);
  await expect(cluster.link(1)).rejects.toThrow();
  broker = await startScriptedBroker(ordersTopic.name, ordersTopic.partitions, Number(address.split(':')[1]));
  expect((await cluster.link(1)).open).toBe(true);
  cluster.close();
});

test('a topic that has fewer partitions than before is no reason to wait for ever', async () => {
  const connection = { brokers: [broker.address] };
  const publisher = await openPublisher({ connection, logger: quiet, giveUpAfterMs: 500 });
  const [first, last] = [eventFor(0), eventFor(ordersTopic.partitions - 1)];
  broker.partitions = 1;
  broker.refuse = true; // so that it reads the leaders again
  const sending = publisher.publish([first]);
  await waitFor('the leaders to be read again', () => broker.metadataRead() > 1);
  broker.refuse = false;
  await sending;
  // The peer takes it, or a real one would refuse it: either way there is an answer.
  await publisher.publish([last]).catch((error: unknown) => expect(error).toBeInstanceOf(PublishFailed));
  publisher.close();
  await expect(openPublisher({ connection, logger: quiet })).rejects.toThrow('has 1 partitions');
});

function eventFor(partition: number) {
  for (let order = 0; ; order++)
    if (partitionOf(orderId(order), ordersTopic.partitions) === partition) return event(order, 1);
}
