// A whole system of one's own for a test file: real processes, real servers, in a temporary folder. Fast banks and a short
// horizon, so that what is in doubt is decided within seconds.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServiceName } from '../../../scripts/system/layout.ts';
import { bankNames } from '../../../scripts/system/service-configs.ts';
import { type System, startSystem } from '../../../scripts/system/start-system.ts';

export interface SystemUnderTest {
  readonly system: System;
  /** Holds `.ballast`. */
  readonly folder: string;
  /** Every line the launcher said. */
  readonly said: readonly string[];
  /** Stops everything; removes the folder unless something failed: then it stays, and is named. */
  end(failed: boolean): Promise<void>;
}

const horizonMs = 2_000;
const latency = { p50_ms: 5, p99_ms: 30 };

export interface UnderTestOptions {
  /** Those that the test needs; default all. */
  readonly services?: readonly ServiceName[];
  readonly kafka?: boolean;
}

export async function startUnderTest(label: string, options: UnderTestOptions = {}): Promise<SystemUnderTest> {
  const folder = mkdtempSync(join(tmpdir(), `ballast-e2e-${label}-`));
  chmodSync(folder, 0o711); // entered by the user that PostgreSQL runs as when tests run as root
  const said: string[] = [];
  const system = await startSystem({
    dataDir: join(folder, '.ballast'),
    banks: Object.fromEntries(bankNames.map((name) => [name, { latency, decline_rate: 0 }])),
    horizonMs,
    ...options,
    log: (line) => said.push(line),
  });
  return {
    system,
    folder,
    said,
    end: async (failed) => {
      await system.stop();
      if (failed) process.stderr.write(`kept for whoever looks for the reason: ${folder}\n${said.join('\n')}\n`);
      else rmSync(folder, { recursive: true, force: true });
    },
  };
}
