// Terminals that send again, and several instances that share their load: what the storm and the flips stand on.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, expect, test } from 'vitest';
import { openGenerator } from '../generator/open-generator.ts';
import type { Plan } from '../generator/plan.ts';

const generator = openGenerator();
afterAll(() => generator.close());

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** Refuses each key's first `refusals` sendings; counts the sendings of each. */
async function service(refusals: number): Promise<{ url: string; sendings: Map<string, number> }> {
  const sendings = new Map<string, number>();
  const server = createServer((request, response) => {
    const key = String(request.headers['idempotency-key']);
    const count = (sendings.get(key) ?? 0) + 1;
    sendings.set(key, count);
    request
      .resume()
      .on('end', () => response.writeHead(count > refusals ? 201 : 503, { 'content-length': 2 }).end('{}'));
  });
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sendings };
}

const terminal = {
  merchant_id: 'mer_1',
  terminal_id: 'trm_000001',
  key_id: 'key_1',
  secret: 'secret',
  livemode: false,
  currency: 'EUR',
};

async function run(urls: readonly string[], changes: Partial<Plan>) {
  const [url = '', ...otherUrls] = urls;
  const prepared = await generator.prepare({
    run: 1,
    target: { kind: 'payments', url, otherUrls, terminals: [terminal], deadlineMs: 2_000 },
    arrival: { kind: 'open', perSecond: 50, maxConnections: 10 },
    warmupMs: 0,
    durationMs: 2_000,
    prepare: 100,
    historyFile: null,
    ...changes,
  });
  return (await prepared.go()).result;
}

test('a payment is sent again until it has its final answer', async () => {
  const { url, sendings } = await service(2);
  const { statuses, bySecond } = await run([url], { impatience: { tries: 10, pauseMs: 20 } });
  const early = [...sendings.values()].slice(0, 50); // the last ones met the end of the run
  expect(early.every((count) => count === 3)).toBe(true);
  expect(statuses['201']).toBeGreaterThan(80);
  expect(bySecond.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(statuses['201'] ?? 0);
});

test('and never more often than it was told', async () => {
  const { url, sendings } = await service(Number.POSITIVE_INFINITY);
  await run([url], { impatience: { tries: 4, pauseMs: 20 } });
  expect(Math.max(...sendings.values())).toBe(4);
});

test('several instances share the load evenly', async () => {
  const all = await Promise.all([service(0), service(0)]);
  const { statuses } = await run(
    all.map(({ url }) => url),
    {},
  );
  const counts = all.map(({ sendings }) => sendings.size);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(statuses['201']);
  expect(Math.min(...counts)).toBeGreaterThan(30);
});
