// A secured broker once: TLS with certificates made at run time, passwords by SCRAM, and the ACLs as declared.
import { waitFor } from '@ballast/database/testing';
import { describeKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureAccess, kafkaUsers, openKafkaConsumer, openPublisher, proveClient } from '../src/kafka/index.ts';
import { event, orderId, quiet, testKafka } from './support/kafka.ts';

describeKafka('a secured broker', () => {
  let kafka: TestKafka;
  beforeAll(async () => {
    kafka = await testKafka({ brokers: 1, secured: { users: kafkaUsers } });
    await ensureAccess(kafka.connection(), quiet);
  });
  afterAll(() => kafka.remove());

  const consumeAs = (user: string, group: string, seen: unknown[] = []) =>
    openKafkaConsumer({
      connection: kafka.connection(user),
      logger: quiet,
      group,
      deliver: async (messages) => {
        seen.push(...messages);
        return { applied: messages.length, repeated: 0, held: 0, parked: 0, gaps: [], progress: [] };
      },
      askForGaps: async () => {},
    });

  test('forwarding publishes and checks its client, query reads: each with the declared rights and no more', async () => {
    await proveClient(kafka.connection('forwarding'), quiet);
    const publisher = await openPublisher({ connection: kafka.connection('forwarding'), logger: quiet });
    await publisher.publish([event(1, 1), event(1, 2)]);
    await publisher.close();
    const seen: unknown[] = [];
    const reading = await consumeAs('query', 'ballast.query', seen);
    await waitFor('both events', () => seen.length === 2);
    expect(seen).toMatchObject([{ order_id: orderId(1), version: 1 }, { version: 2 }]);
    await reading.close();
  }, 120_000);

  test('who may only read is refused as a publisher', async () => {
    const failure = await openPublisher({ connection: kafka.connection('query'), logger: quiet })
      .then((publisher) => publisher.publish([event(2, 1)]))
      .catch((error: unknown) => error);
    expect(String(failure)).toMatch(/authorized|AUTHORIZATION/i);
  });

  test('who may only write cannot read, and nobody joins a foreign group', async () => {
    // It may describe the topic and join its own group, so it is refused only when it reads.
    const reading = await consumeAs('forwarding', 'ballast.client-check.v1.x');
    expect((await reading.ended)?.message).toMatch(/authorized/i);
    await reading.close();
    // kafkajs's words for a group that it is not allowed to see.
    await expect(consumeAs('query', 'ballast.settlement')).rejects.toThrow(/authorized|find group coordinator/i);
  }, 120_000);

  test('a wrong password, and an authority that did not sign the broker, are refused', async () => {
    const good = kafka.connection('forwarding');
    if (good.security === undefined) throw new Error('the cluster is not secured');
    const open = (security: typeof good.security) =>
      openPublisher({ connection: { ...good, security }, logger: quiet });
    await expect(open({ ...good.security, password: 'guessed' })).rejects.toThrow(/authentication/i);
    const { rootCertificates } = await import('node:tls');
    await expect(open({ ...good.security, ca: rootCertificates[0] ?? '' })).rejects.toThrow(/certificate/i);
    await expect(openPublisher({ connection: { brokers: good.brokers }, logger: quiet })).rejects.toThrow();
  }, 120_000);
});
