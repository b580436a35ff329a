// A PostgreSQL server of a test's own, without an initdb of its own, which takes a second.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/** Set by test/support/one-run.ts: where a fresh cluster lies on which no server runs, its password beside it. */
const TEMPLATE = 'BALLAST_TEST_CLUSTER';

/** Lays a fresh cluster where startServer will find it. To PostgreSQL all of them are one system: they have one identifier. */
export function freshCluster(dataDir: string): void {
  const template = process.env[TEMPLATE];
  if (template === undefined)
    throw new Error(`${TEMPLATE} is not set: run tests through vitest from the project's root`);
  mkdirSync(dirname(dataDir), { recursive: true });
  for (const part of ['', '.password']) {
    const { status, stderr } = spawnSync('cp', ['-a', `${template}${part}`, `${dataDir}${part}`], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`no copy of a cluster: ${stderr}`);
  }
}
