import { type AddressInfo, createServer, type Socket } from 'node:net';
import { createLogger } from '@ballast/telemetry';
import { expect, onTestFinished, test } from 'vitest';
import { openKafkaSender } from '../src/delivery/send-to-kafka.ts';

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
    logger: createLogger({ service: 'test', level: 'silent' }),
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
