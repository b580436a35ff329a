import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, expect, test } from 'vitest';
import { openGenerator } from '../generator/open-generator.ts';
import type { Arrival, Plan } from '../generator/plan.ts';

const generator = openGenerator();
afterAll(() => generator.close());

let server: Server;
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** A bank that answers at once, except that it stands still once, for `stallMs`, from its hundredth request on. */
async function bankThatStalls(stallMs: number): Promise<string> {
  let seen = 0;
  let stalledUntil = 0;
  server = createServer((request, response) => {
    request.resume().on('end', () => {
      if (++seen === 100) stalledUntil = performance.now() + stallMs;
      const body = '{"result":"declined"}';
      const answer = () => response.writeHead(200, { 'content-length': body.length }).end(body);
      setTimeout(answer, Math.max(0, stalledUntil - performance.now()));
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function run(url: string, arrival: Arrival, changes: Partial<Plan> = {}) {
  const plan = { run: 1, arrival, warmupMs: 0, durationMs: 1_500, prepare: 100, historyFile: null };
  const prepared = await generator.prepare({ ...plan, target: { kind: 'bank', url }, ...changes });
  const { result, written } = await prepared.go();
  await written;
  return result;
}

test('an open rate counts the time that requests wait while the other side stands still', async () => {
  const stallMs = 500;
  const result = await run(await bankThatStalls(stallMs), { kind: 'open', perSecond: 200, maxConnections: 4 });
  // A third of the run was stalled: of the requests that were due then, the median waited half of it.
  expect(result.latency.p90).toBeGreaterThan(stallMs / 3);
  expect(Object.keys(result.statuses)).toEqual(['200']);
  expect(result.statuses['200']).toBeGreaterThan(280); // of 300, less those due while it connected
});

test('a closed loop keeps one request in flight per connection', async () => {
  let most = 0;
  let inFlight = 0;
  server = createServer((request, response) => {
    most = Math.max(most, ++inFlight);
    request.resume().on('end', () => setImmediate(() => response.end('{}', () => inFlight--)));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const result = await run(url, { kind: 'closed', connections: 8 }, { durationMs: 500 });
  expect(most).toBe(8);
  expect(result.answered).toBeGreaterThan(8);
});

test('a connection that is cut has no answer, and the next request finds another', async () => {
  let seen = 0;
  server = createServer((request, response) => {
    if (++seen === 5) request.socket.resetAndDestroy();
    else request.resume().on('end', () => response.end('{}'));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const result = await run(url, { kind: 'closed', connections: 1 }, { durationMs: 500 });
  expect(result.statuses['0']).toBe(1);
  expect(result.statuses['200']).toBeGreaterThan(5);
});
