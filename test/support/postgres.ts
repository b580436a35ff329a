// vitest's global setup: one real PostgreSQL for the whole run, in a directory of its own, stopped and removed after.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startServer } from '@ballast/database/embedded';

export default async function setup(): Promise<() => Promise<void>> {
  const base = mkdtempSync(join(tmpdir(), 'ballast-test-'));
  // Entered by the user that PostgreSQL runs as when tests run as root.
  chmodSync(base, 0o711);
  const server = await startServer({
    dataDir: join(base, 'data'),
    logFile: join(base, 'postgres.log'),
    settings: { max_wal_senders: '20', max_replication_slots: '20', shared_buffers: '128MB' },
  });
  process.env['BALLAST_TEST_POSTGRES'] = server.url('postgres');
  return async () => {
    await server.stop();
    rmSync(base, { recursive: true, force: true });
  };
}
