// Settings that lose committed data are refused, not warned about: the answer to a terminal stands on them.
import type pg from 'pg';

const required = { fsync: 'on', full_page_writes: 'on' } as const;
const LOSSY_SYNCHRONOUS_COMMIT = 'off';

export class LossySettings extends Error {
  constructor(setting: string, value: string) {
    super(`PostgreSQL runs with ${setting}=${value}, which can lose acknowledged payments; refused`);
    this.name = 'LossySettings';
  }
}

/** Rejects with LossySettings when this connection's commits may be lost by a crash. */
export async function refuseLossySettings(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ name: string; setting: string }>(
    `select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit')`,
  );
  for (const { name, setting } of rows) {
    const lossy =
      name === 'synchronous_commit'
        ? setting === LOSSY_SYNCHRONOUS_COMMIT
        : setting !== required[name as keyof typeof required];
    if (lossy) throw new LossySettings(name, setting);
  }
}
