// For tests: a real broker of one's own. A machine without Java or Maven skips, with the reason; CI does not.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { missingForKafka } from './fetch-broker.ts';
import { type KafkaOptions, type RunningKafka, startKafka } from './start-kafka.ts';

const missing = missingForKafka();

export const describeKafka: (name: string, tests: () => void) => void =
  missing === undefined || process.env['CI'] === 'true'
    ? describe
    : (name, tests) => describe.skip(`${name} (${missing})`, tests);

export interface TestKafka extends RunningKafka {
  /** Kills every node and leaves no file. */
  remove(): Promise<void>;
}

/** One broker, unless something else is asked for, below the system's temporary folder. */
export async function startTestKafka(options: Partial<Omit<KafkaOptions, 'dataDir'>> = {}): Promise<TestKafka> {
  const dataDir = mkdtempSync(join(tmpdir(), 'ballast-kafka-'));
  const kafka = await startKafka({ dataDir, brokers: 1, ...options });
  const remove = async () => {
    await Promise.all(kafka.ports.map((_, node) => kafka.kill(node)));
    rmSync(dataDir, { recursive: true, force: true });
  };
  return { ...kafka, remove };
}
