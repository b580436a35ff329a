// The baseline's database: beside the service's own on the same server, with the same migrations and partitions.
import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import { findPgbench, runPgbench } from './pgbench.ts';
import { runPlainPg } from './plain-pg.ts';

const migrations = new URL('../../services/collection/migrations/', import.meta.url);
const DATABASE = 'baseline';

export interface Baseline {
  /** As the report names it. */
  readonly name: string;
  /** True: pgbench; false: it is missing here, and plain `pg` stands in. */
  readonly pgbench: boolean;
  /** Payments per second. */
  run(clients: number, seconds: number): Promise<number>;
}

export async function openBaseline(ordersUrl: string): Promise<Baseline> {
  await withClient(ordersUrl, (client) => client.query(`create database ${DATABASE}`));
  const url = new URL(ordersUrl);
  url.pathname = `/${DATABASE}`;
  const partitions = await withClient(ordersUrl, readPartitions);
  await withClient(url.href, async (client) => {
    for (const file of readdirSync(migrations).sort())
      if (file.endsWith('.sql')) await client.query(readFileSync(new URL(file, migrations), 'utf8'));
    for (const { parent, child, bounds, options } of partitions)
      await client.query(`create table ${child} partition of ${parent} ${bounds} ${options}`);
  });
  const program = findPgbench();
  return program === undefined
    ? {
        name: 'plain pg, one by one',
        pgbench: false,
        run: (clients, seconds) => runPlainPg(url.href, clients, seconds),
      }
    : { name: 'pgbench', pgbench: true, run: (clients, seconds) => runPgbench(program, url.href, clients, seconds) };
}

interface Partition {
  readonly parent: string;
  readonly child: string;
  readonly bounds: string;
  readonly options: string;
}

async function readPartitions(client: pg.Client): Promise<Partition[]> {
  const { rows } = await client.query<Partition>(
    `select i.inhparent::regclass::text as parent, c.relname as child, pg_get_expr(c.relpartbound, c.oid) as bounds,
       case when c.reloptions is null then '' else 'with (' || array_to_string(c.reloptions, ', ') || ')' end as options
     from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where c.relispartition and c.relkind = 'r' order by c.relname`,
  );
  return rows;
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
