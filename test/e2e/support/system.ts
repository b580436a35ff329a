// A whole system of one's own for a test file: real processes, real servers, in a temporary folder. Fast banks and a short
// horizon, so that what is in doubt is decided within seconds.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freshCluster } from '@ballast/database/testing';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { layoutOf, type ServiceName, serverNames } from '../../../scripts/system/layout.ts';
import { bankNames } from '../../../scripts/system/service-configs.ts';
import { type System, startSystem } from '../../../scripts/system/start-system.ts';
import { openTills, type Tills } from './tills.ts';

export interface SystemUnderTest {
  readonly system: System;
  /** Holds `.ballast`. */
  readonly folder: string;
  readonly tills: Tills;
}

interface Started extends SystemUnderTest {
  /** Stops everything; removes the folder unless something failed: then it stays, and is named. */
  end(failed: boolean): Promise<void>;
}

const START_LIMIT_MS = 180_000;
const horizonMs = 2_000;
const latency = { p50_ms: 5, p99_ms: 30 };

export interface UnderTestOptions {
  /** Those that the test needs; default all. */
  readonly services?: readonly ServiceName[];
  readonly kafka?: boolean;
}

/** For the tests of this file or describe: there from before the first to after the last of them. */
export function systemOfTheseTests(label: string, options: UnderTestOptions = {}): SystemUnderTest {
  let started: Started | undefined;
  let failed = false;
  const there = () => {
    if (started === undefined) throw new Error('BUG: used before its tests began');
    return started;
  };
  beforeAll(async () => {
    started = await start(label, options);
  }, START_LIMIT_MS);
  afterEach(({ task }) => {
    failed ||= task.result?.state === 'fail';
  });
  afterAll(() => started?.end(failed));
  return {
    get system() {
      return there().system;
    },
    get folder() {
      return there().folder;
    },
    get tills() {
      return there().tills;
    },
  };
}

async function start(label: string, options: UnderTestOptions): Promise<Started> {
  const folder = mkdtempSync(join(tmpdir(), `ballast-e2e-${label}-`));
  chmodSync(folder, 0o711); // entered by the user that PostgreSQL runs as when tests run as root
  const dataDir = join(folder, '.ballast');
  for (const name of serverNames) freshCluster(layoutOf(dataDir).postgresDir(name));
  const said: string[] = [];
  const system = await startSystem({
    dataDir,
    banks: Object.fromEntries(bankNames.map((name) => [name, { latency, decline_rate: 0 }])),
    horizonMs,
    ...options,
    log: (line) => said.push(line),
  });
  const tills = openTills(system.runFile, join(folder, 'terminals.history.jsonl'));
  return {
    system,
    folder,
    tills,
    end: async (failed) => {
      await tills.close();
      await system.stop();
      if (failed) process.stderr.write(`kept for whoever looks for the reason: ${folder}\n${said.join('\n')}\n`);
      else rmSync(folder, { recursive: true, force: true });
    },
  };
}
