// Who connects to a face and says nothing holds a descriptor: there are so many places, and no more.
import { once } from 'node:events';
import { connect, Server } from 'node:net';
import { createLogger } from '@ballast/telemetry';
import { describe, expect, test } from 'vitest';
import { limitConnections } from '../src/connections.ts';
import { createApp, listen } from '../src/index.ts';

const logger = createLogger({ service: 'test', level: 'silent' });

describe('connections of a face', () => {
  test('beyond its limit are closed at once, and those it has are served', async () => {
    const face = await createApp({ service: 'test', face: 'internal', logger });
    face.get('/here', async () => 'here');
    face.server.maxConnections = 2; // the limit itself takes more descriptors than a test should
    const port = Number(new URL(await listen(face, { host: '127.0.0.1', port: 0 })).port);
    const open = () =>
      connect(port, '127.0.0.1')
        .on('error', () => undefined)
        .resume();
    const [first, second] = [open(), open()];
    await Promise.all([once(first, 'connect'), once(second, 'connect')]);
    const third = open();
    await once(third, 'close');
    first.write('GET /here HTTP/1.1\r\nhost: x\r\n\r\n');
    expect(String((await once(first, 'data'))[0])).toMatch(/^HTTP\/1.1 200/);
    expect(second.destroyed).toBe(false);
    for (const socket of [first, second]) socket.destroy();
    await face.close();
  });

  test.each([
    ['public', 1_000_000, 10_000],
    ['public', 1_024, 512],
    ['internal', 1_024, 200],
    ['public', Number.POSITIVE_INFINITY, 10_000],
  ] as const)('of the %s one, where %d descriptors may be open: at most %d', (face, descriptors, most) => {
    const server = new Server();
    limitConnections(server, face, logger, descriptors);
    expect(server.maxConnections).toBe(most);
  });

  test('are limited from the beginning', async () => {
    const { server } = await createApp({ service: 'test', face: 'public', logger });
    expect(server.maxConnections).toBeLessThanOrEqual(10_000);
    expect(server.maxConnections).toBeGreaterThan(0);
  });
});
