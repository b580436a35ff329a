// Settings that lose committed data are refused, not warned about: the answer to a terminal stands on them.

const required: Readonly<Record<string, string>> = { fsync: 'on', full_page_writes: 'on' };
/** Without a synchronous standby `local` and `remote_write` are as good as `on`; with one they do not wait for its disk. */
const safeWithStandby = new Set(['on', 'remote_apply']);

export class LossySettings extends Error {
  constructor(setting: string, value: string) {
    super(`PostgreSQL runs with ${setting}=${value}, which can lose acknowledged payments; refused`);
    this.name = 'LossySettings';
  }
}

interface Setting {
  readonly name: string;
  readonly setting: string;
}

/** Rejects with LossySettings when commits on the connection that `run` uses may be lost by a crash. */
export async function refuseLossySettings(run: (sql: string) => PromiseLike<{ rows: Setting[] }>): Promise<void> {
  const { rows } = await run(
    `select name, setting from pg_settings
     where name in ('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names')`,
  );
  const settings = new Map(rows.map(({ name, setting }) => [name, setting]));
  for (const [name, value] of Object.entries(required))
    if (settings.get(name) !== value) throw new LossySettings(name, settings.get(name) ?? 'unknown');
  const commit = settings.get('synchronous_commit') ?? 'unknown';
  const hasStandby = (settings.get('synchronous_standby_names') ?? '') !== '';
  if (commit === 'off' || (hasStandby && !safeWithStandby.has(commit)))
    throw new LossySettings('synchronous_commit', commit);
}
