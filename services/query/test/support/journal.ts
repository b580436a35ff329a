// A journal and its forwarding, as far as query knows it: the admin API it asks, and deliveries over HTTP. Holds events,
// delivers them when told to, replays them from the first one when asked.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { OrderEvent } from '@ballast/contracts';
import { ADMIN_TOKEN, type TestQuery } from './query.ts';

export async function openJournal() {
  const events: OrderEvent[] = [];
  let asked = 0;
  let finished = 0;
  const server = createServer((request, response) => {
    if (request.headers.authorization !== `Bearer ${ADMIN_TOKEN}`) return void response.writeHead(401).end();
    if (request.method === 'POST' && request.url === '/admin/subscribers/query/rebuild') {
      asked++;
      return void response.writeHead(202).end('{}');
    }
    const rebuild = { asked, finished, progress: finished === asked ? null : 0.5 };
    response.end(JSON.stringify({ subscribers: [{ subscriber: 'query', rebuild }], sources: [] }));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}`,
    asked: () => asked,

    /** Writes events and delivers them, as the log would. */
    async write(query: TestQuery, ...written: OrderEvent[]): Promise<void> {
      events.push(...written);
      await query.deliver(written);
    },

    /** The replay that was asked for: everything from the first event on. */
    async replay(query: TestQuery): Promise<void> {
      for (let at = 0; at < events.length; at += 100) await query.deliver(events.slice(at, at + 100));
      finished = asked;
    },

    async close(): Promise<void> {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
