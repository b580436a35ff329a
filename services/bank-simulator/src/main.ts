// The bank simulator: several banks, each with its own books and its own listener, and one switchboard.
import { once } from 'node:events';
import { buildAdmin } from './admin.ts';
import { openBank } from './bank.ts';
import { readConfig } from './config.ts';
import { openFace } from './face.ts';

const config = readConfig();
const banks = new Map(
  config.banks.map((bankConfig) => {
    const bank = openBank(bankConfig);
    return [bankConfig.name, { bank, face: openFace(bank, bankConfig), port: bankConfig.port }] as const;
  }),
);
for (const { face, port } of banks.values()) await once(face.server.listen(port, '127.0.0.1'), 'listening');
const admin = buildAdmin(banks);
await admin.listen({ host: '127.0.0.1', port: config.admin_port });

async function stop(): Promise<void> {
  await admin.close();
  for (const { bank, face } of banks.values()) {
    face.server.closeAllConnections();
    face.server.close();
    await bank.books.close();
  }
  process.exit(0);
}
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop());
