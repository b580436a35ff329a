// What the order database must be before the first payment: refused with a sentence, not found out at night.
import { refuseLossySettings } from '@ballast/database';
import type { Knex } from 'knex';

/** Three day-partitioned tables with their indexes, 400 days kept: docs/facts.md counts 1,605 locks without bounds. */
const LEAST_LOCKS = 256;

export async function checkDatabase(knex: Knex, singleMachineAccepted: boolean): Promise<void> {
  const { rows } = await knex.raw(
    `select current_setting('max_locks_per_transaction')::int as locks, current_setting('wal_level') as wal_level,
       current_setting('synchronous_standby_names') as standbys, current_setting('default_transaction_isolation') as isolation,
       current_setting('server_version_num')::int as version`,
  );
  const { locks, wal_level: walLevel, standbys, isolation, version } = rows[0];
  if (version < 180_000) throw new Error(`PostgreSQL 18 or later is needed, this is ${version}`);
  if (locks < LEAST_LOCKS)
    throw new Error(`max_locks_per_transaction is ${locks}; at least ${LEAST_LOCKS} for tables partitioned by day`);
  if (walLevel !== 'logical') throw new Error(`wal_level is ${walLevel}; forwarding needs logical`);
  if (isolation !== 'read committed')
    throw new Error(`default_transaction_isolation is ${isolation}; the statements are written for read committed`);
  await refuseLossySettings((sql) => knex.raw(sql));
  if (standbys === '' && !singleMachineAccepted)
    throw new Error(
      'no synchronous standby (synchronous_standby_names is empty): a lost disk loses acknowledged payments; configure one, or single_machine: "accepted"',
    );
}
