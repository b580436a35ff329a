import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Alarm, type Alarms, createLogger, openAlarms } from '../src/index.ts';

const logger = createLogger({ service: 'test', level: 'silent' });
const long = (subject: string): Alarm => ({
  name: 'long_transaction',
  severity: 'critical',
  subject,
  message: 'a transaction lasted 1200 ms',
  numbers: { duration_ms: 1_200 },
});

let receiver: Server;
let received: Record<string, unknown>[];
let answers: number[];
let alarms: Alarms;

beforeEach(async () => {
  received = [];
  answers = [];
  receiver = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    received.push(JSON.parse(Buffer.concat(chunks).toString()));
    response.writeHead(answers.shift() ?? 204).end();
  });
  await once(receiver.listen(0, '127.0.0.1'), 'listening');
  const { port } = receiver.address() as AddressInfo;
  alarms = openAlarms({ service: 'collection', instance: 'c-1', logger, webhookUrl: `http://127.0.0.1:${port}/` });
});
afterEach(async () => {
  await alarms.close();
  receiver.closeAllConnections();
  receiver.close();
});

test('an alarm reaches the webhook with what it says and where it is from', async () => {
  alarms.raise(long('learn'));
  await alarms.close();
  expect(received).toEqual([
    { ...long('learn'), at: expect.stringContaining('T'), count: 1, service: 'collection', instance: 'c-1' },
  ]);
});

test('a storm of the same alarm is one message and a number', async () => {
  for (let i = 0; i < 500; i++) alarms.raise(long('learn'));
  alarms.raise(long('accept'));
  await alarms.close();
  expect(received.map(({ subject, count }) => [subject, count])).toEqual([
    ['learn', 1],
    ['learn', 499],
    ['accept', 1],
  ]);
});

test('a webhook that fails is tried again', async () => {
  answers = [500, 503];
  alarms.raise(long('learn'));
  await expect.poll(() => alarms.stats.delivered, { timeout: 10_000 }).toBe(1);
  expect(received).toHaveLength(3);
});

test('what waits is bounded: the oldest goes, and is counted', async () => {
  for (let i = 0; i < 1_000; i++) alarms.raise(long(`transaction ${i}`));
  expect(alarms.stats.waiting).toBeLessThanOrEqual(200);
  expect(alarms.stats.dropped).toBeGreaterThanOrEqual(799);
});

test('a webhook that is away costs nothing but a log line', async () => {
  receiver.close();
  alarms.raise(long('learn'));
  await alarms.close();
  expect(alarms.stats).toMatchObject({ delivered: 0 });
});
