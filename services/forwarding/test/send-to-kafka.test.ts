import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { TopicPlace } from '@ballast/events/kafka';
import { describeKafka, startTestKafka, type TestKafka } from '@ballast/infra-kafka/testing';
import { createLogger } from '@ballast/telemetry';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { openKafkaSender } from '../src/delivery/send-to-kafka.ts';

const logger = createLogger({ service: 'test', level: 'silent' });

/** Takes connections, and says nothing. */
async function startSilentBroker(): Promise<{ readonly address: string; readonly asked: Promise<void> }> {
  const sockets = new Set<Socket>();
  const asked = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', () => asked.resolve());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked: asked.promise };
}

test('a broker that hangs keeps nobody: a sender that is closed while it opens waits for no answer', async () => {
  const broker = await startSilentBroker();
  const sender = openKafkaSender({
    connection: { brokers: [broker.address], replicas: 1 },
    logger,
    acknowledged: null,
    onLost: () => undefined,
    onTopics: () => undefined,
  });
  const failed = sender.send([]).then(
    () => 'sent',
    (error: unknown) => String(error),
  );
  await broker.asked;
  await sender.close();
  expect(await failed).toMatch(/closed while it was being opened/);
}, 60_000);

describeKafka('a topic that was made again', () => {
  let kafka: TestKafka;
  beforeAll(async () => {
    kafka = await startTestKafka();
  }, 120_000);
  afterAll(() => kafka.remove());

  test('while the lead ends: whoever leads next finds it as it was left, and fills it', async () => {
    const acknowledged = { topic_id: '0'.repeat(32), next_offsets: Array.from({ length: 12 }, () => 5) };
    const open = (acknowledged: TopicPlace | null, lost: string[]) =>
      openKafkaSender({
        connection: { ...kafka.connection(), replicas: 1 },
        logger,
        acknowledged,
        onLost: (why) => lost.push(why),
        onTopics: () => undefined,
      });
    const maker = open(null, []);
    await maker.send([]);
    await maker.close();
    const [ended, next]: [string[], string[]] = [[], []];
    const sender = open(acknowledged, ended);
    const sending = sender.send([]);
    await sender.close();
    await expect(sending).rejects.toThrow(/closed while it was being opened/);
    // The first one looks at the topic all the same; the second, begun after it, takes as long at least.
    const follower = open(acknowledged, next);
    await expect(follower.send([])).rejects.toThrow(/made again/);
    expect({ ended, kept: sender.published() }).toEqual({ ended: [], kept: acknowledged });
    expect(next).toEqual(['it was deleted and made again']);
    expect(follower.published()?.topic_id).not.toBe(acknowledged.topic_id);
    await follower.close();
  }, 120_000);
});
