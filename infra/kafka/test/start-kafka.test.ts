// Life and death of a broker: found again, killed, paused, told from strangers, refused where Java is missing.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForKafka, type RunningKafka, startKafka } from '../index.ts';
import { livingPid, writeSettings } from '../node-process.ts';

const missing = missingForKafka();

test('without Java the reason says what to install', () => {
  const path = process.env['PATH'];
  process.env['PATH'] = '';
  try {
    expect(missingForKafka()).toMatch(/needs Java 17 or later.*install/);
  } finally {
    process.env['PATH'] = path;
  }
});

describe.skipIf(missing !== undefined && process.env['CI'] !== 'true')(`a broker from Maven ${missing ?? ''}`, () => {
  let dataDir: string;
  let kafka: RunningKafka;
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'ballast-kafka-'));
    kafka = await startKafka({ dataDir, brokers: 1 });
  });
  afterAll(async () => {
    await kafka.stop();
    rmSync(dataDir, { recursive: true, force: true });
  });

  test('a second start finds the first, also when it was paused', async () => {
    await kafka.pause(0);
    const again = await startKafka({ dataDir, brokers: 1 });
    expect(again.adopted).toBe(true);
    expect(again.pid(0)).toBe(kafka.pid(0));
    expect(again.bootstrap).toEqual(kafka.bootstrap);
  });

  test('killed and restarted it has the same address; stopped and started it is formatted no second time', async () => {
    const before = kafka.pid(0);
    await kafka.kill(0);
    expect(kafka.pid(0)).toBeUndefined();
    await kafka.restart(0);
    expect(kafka.pid(0)).not.toBe(before);
    await kafka.stop();
    const next = await startKafka({ dataDir, brokers: 1 });
    expect(next.adopted).toBe(false);
    expect(next.bootstrap).toEqual(kafka.bootstrap);
  });

  test('a folder of one node is not started as three, nor as a secured one', async () => {
    await expect(startKafka({ dataDir, brokers: 3 })).rejects.toThrow(/holds a Kafka of 1 nodes/);
    await expect(startKafka({ dataDir, brokers: 1, secured: { users: [] } })).rejects.toThrow(/secured: false/);
  });

  test('a pid that is a stranger by now is not taken for a broker', () => {
    const directory = join(dataDir, 'node-of-old');
    writeSettings(directory, '');
    writeFileSync(join(directory, 'broker.pid'), `${process.pid}\n`);
    expect(livingPid(directory)).toBeUndefined();
  });
});
