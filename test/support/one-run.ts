// vitest's global setup: one real PostgreSQL for the whole run, a copy of its files as they were fresh, and one folder that holds everything the run writes below
// the system's temporary folder. What a test leaves in there after a run without failures is an error that names it; after
// a run with failures it stays for whoever looks for the reason.
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startServer } from '@ballast/database/embedded';
import { freshCluster } from '@ballast/database/testing';
import { projectRoot } from '../../scripts/system/layout.ts';

export default async function setup(): Promise<() => Promise<void>> {
  const base = mkdtempSync(join(tmpdir(), 'ballast-test-'));
  const temporary = join(base, 'tmp');
  mkdirSync(temporary);
  // Entered, and written to, by the user that PostgreSQL runs as when tests run as root.
  chmodSync(base, 0o711);
  chmodSync(temporary, 0o1777);
  const logFile = join(base, 'postgres.log');
  const fresh = join(base, 'fresh');
  await (await startServer({ dataDir: fresh, logFile })).stop();
  process.env['BALLAST_TEST_CLUSTER'] = fresh;
  freshCluster(join(base, 'data'));
  const server = await startServer({
    dataDir: join(base, 'data'),
    logFile,
    settings: { max_wal_senders: '20', max_replication_slots: '20', shared_buffers: '128MB' },
  });
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = temporary; // of every test process, and of what those start
  process.env['BALLAST_TEST_POSTGRES'] = server.url('postgres');
  // Tests start some 230 processes: with compiled code kept from one to the next, each is there in two thirds of the time.
  process.env['NODE_COMPILE_CACHE'] ??= join(projectRoot, '.cache', 'compile');
  return async () => {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
    await server.stop();
    for (const cluster of ['data', 'fresh']) rmSync(join(base, cluster), { recursive: true, force: true });
    const left = readdirSync(temporary).filter((name) => name.startsWith('ballast-'));
    if (left.length > 0 && process.exitCode === 1) {
      process.stderr.write(`what the tests wrote is kept for whoever looks for the reason: ${temporary}\n`);
      return;
    }
    rmSync(base, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`tests left their temporary folders behind: ${left.join(', ')}`);
  };
}
