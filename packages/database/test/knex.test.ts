// Pools, when their server vanishes, answers late, or takes no writes.
import { freshDatabase, startProxy, type TestProxy, waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Knex, openDatabase, withTransaction } from '../src/index.ts';

let db: Awaited<ReturnType<typeof freshDatabase>>;
let observer: pg.Client;
let proxy: TestProxy;
const pools: Knex[] = [];

/** The server's limit of 200 ms and ours of a second more, unless it is another one. */
function openPool(options: { direct?: boolean; poolMax?: number; statementTimeoutMs?: number } = {}): Knex {
  const url = new URL(db.url);
  if (options.direct !== true) url.port = String(proxy.port);
  const { poolMax = 2, statementTimeoutMs = 200 } = options;
  const pool = openDatabase({ url: url.href, applicationName: 'pool test', poolMax, statementTimeoutMs });
  pools.push(pool);
  return pool;
}

/** For longer than a server may say nothing. */
async function idle(): Promise<void> {
  const until = performance.now() + 1_500;
  await waitFor('the time of an answer to pass', () => performance.now() > until);
}

const pidOf = async (knex: Knex) => (await knex.raw('select pg_backend_pid() as pid')).rows[0].pid as number;
const backends = async () =>
  (await observer.query(`select pid from pg_stat_activity where application_name = 'pool test'`)).rowCount;

/** As many connections as asked for, all idle. */
async function warm(knex: Knex, connections: number): Promise<void> {
  await Promise.all(Array.from({ length: connections }, () => knex.raw('select pg_sleep(0.1)')));
  expect(await backends()).toBe(connections);
}

/** Of this thread: nothing is read, and timers come late. */
function stall(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

beforeAll(async () => {
  db = await freshDatabase('pools');
  observer = new pg.Client(db.url);
  await observer.connect();
  const { hostname, port } = new URL(db.url);
  proxy = await startProxy({ host: hostname, port: Number(port) });
});
afterEach(async () => {
  proxy.release();
  for (const pool of pools.splice(0)) await pool.destroy();
});
afterAll(async () => {
  await proxy.close();
  await observer.end();
  await db.drop();
});

describe('a server that says nothing any more', () => {
  test('is left: what was asked of it rejects, and its connections are closed', async () => {
    const knex = openPool();
    await warm(knex, 2);
    await idle();
    proxy.vanish();
    const asked = await Promise.allSettled([knex.raw('select 1'), knex.raw('select 2')]);
    expect(asked).toMatchObject(Array(2).fill({ status: 'rejected', reason: { code: 'ETIMEDOUT' } }));
    await waitFor('the connections to be closed', async () => (await backends()) === 0);
    expect(await pidOf(knex)).toBeGreaterThan(0);
  });

  test('is left with all connections that were open then: nobody has to wait for each of them', async () => {
    const knex = openPool({ poolMax: 4 });
    await warm(knex, 4);
    proxy.vanish();
    await expect(knex.raw('select 1')).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    for (let i = 0; i < 4; i++) expect(await pidOf(knex)).toBeGreaterThan(0);
  });

  test('is left inside a transaction too, and that is the reason that is told', async () => {
    const knex = openPool();
    const result = withTransaction(knex, 'silent', async (trx) => {
      await pidOf(trx);
      proxy.vanish();
      await pidOf(trx);
    });
    await expect(result).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  });

  test('is left in the middle of an answer too', async () => {
    const knex = openPool();
    await warm(knex, 1);
    proxy.holdInTheMiddle();
    const asked = knex.raw(`select repeat('x', 1000) from generate_series(1, 20000)`);
    await expect(asked).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  });
});

describe('a server that lives is not left', () => {
  test('while a statement runs that has no limit', async () => {
    const knex = openPool({ statementTimeoutMs: 0 });
    expect((await knex.raw('select 1 as one from pg_sleep(1.5)')).rows).toEqual([{ one: 1 }]);
  });

  test('while nothing is asked, also inside a transaction', async () => {
    const knex = openPool();
    await withTransaction(knex, 'idle', async (trx) => {
      const pid = await pidOf(trx);
      await idle();
      expect(await pidOf(trx)).toBe(pid);
    });
  });

  test('when this process stalled while its answer came', async () => {
    const knex = openPool({ direct: true }); // the proxy would stall as well
    await warm(knex, 1);
    const asked = knex.raw('select 1 as one from pg_sleep(0.1)').then(({ rows }) => rows);
    await waitFor('the statement to run', async () => {
      const { rows } = await observer.query(
        `select 1 from pg_stat_activity where application_name = 'pool test' and wait_event = 'PgSleep'`,
      );
      return rows.length > 0;
    });
    stall(1_500);
    expect(await asked).toEqual([{ one: 1 }]);
  });
});

test('a server that takes no writes is refused, by a connection that does not stay, until it takes them', async () => {
  await observer.query(`alter database ${db.name} set default_transaction_read_only = on`);
  const knex = openPool();
  const refused = await knex.raw('select 1').catch((reason: unknown) => reason);
  expect(refused).toBeInstanceOf(pg.DatabaseError); // as if it had said so itself, to whoever sorts errors by their SQLSTATE
  expect(refused).toMatchObject({ code: '25006' });
  await waitFor('the refused connection to be gone', async () => (await backends()) === 0);
  await observer.query(`alter database ${db.name} reset default_transaction_read_only`);
  expect(await pidOf(knex)).toBeGreaterThan(0);
});
