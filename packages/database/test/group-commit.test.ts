// Rows committed together: each is accounted for, whatever happens to the batch, the connection or the server.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { freshDatabase, startProxy, type TestProxy, waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  arrayParameter,
  type BatchStatement,
  CommitUnknown,
  type GroupCommit,
  LossySettings,
  NotSent,
  openGroupCommit,
  QueueFull,
  RowRefused,
} from '../src/index.ts';

interface Row {
  readonly id: number;
  readonly a: string;
  readonly b: string;
  readonly amount: number;
}
type Taken = { id: number };

const insert: BatchStatement<Row, Taken> = {
  name: 'insert_items',
  text: `insert into item (id, a, b, amount)
    select * from unnest($1::integer[], $2::text[], $3::text[], $4::integer[]) on conflict do nothing returning id`,
  params: (rows) => [
    arrayParameter(
      'integer',
      rows.map((row) => row.id),
    ),
    arrayParameter(
      'text',
      rows.map((row) => row.a),
    ),
    arrayParameter(
      'text',
      rows.map((row) => row.b),
    ),
    arrayParameter(
      'integer',
      rows.map((row) => row.amount),
    ),
  ],
  keyOf: (row) => String(row.id).padStart(9, '0'),
  returnedKeyOf: (row) => String(row.id).padStart(9, '0'),
};

let db: Awaited<ReturnType<typeof freshDatabase>>;
let observer: pg.Client;
let proxy: TestProxy;
let commit: GroupCommit<Row, Taken>;
const open: GroupCommit<Row, Taken>[] = [];

function openCommit(
  options: {
    direct?: boolean;
    port?: number;
    maxWaiting?: number;
    maxBatch?: number;
    slowLaneMaxWaiting?: number;
    statementTimeoutMs?: number;
  } = {},
): GroupCommit<Row, Taken> {
  const url = new URL(db.url);
  if (options.direct !== true) url.port = String(options.port ?? proxy.port);
  const { maxWaiting, maxBatch, slowLaneMaxWaiting, statementTimeoutMs } = options;
  const opened = openGroupCommit({
    connectionString: url.href,
    applicationName: 'group commit test',
    statement: insert,
    ...(maxWaiting === undefined ? {} : { maxWaiting }),
    ...(maxBatch === undefined ? {} : { maxBatch }),
    ...(slowLaneMaxWaiting === undefined ? {} : { slowLaneMaxWaiting }),
    ...(statementTimeoutMs === undefined ? {} : { statementTimeoutMs }),
  });
  open.push(opened);
  return opened;
}

const row = (id: number, extra: Partial<Row> = {}): Row => ({ id, a: `a${id}`, b: `b${id}`, amount: 1, ...extra });
const soon = () => performance.now() + 10_000;
const count = async () => (await observer.query('select count(*)::int as n from item')).rows[0].n as number;

/** A connection with an open transaction that holds a lock until it ends. */
async function blockItems(lock = 'lock table item in access exclusive mode'): Promise<pg.Client> {
  const blocker = new pg.Client(db.url);
  await blocker.connect();
  await blocker.query('begin');
  await blocker.query(lock);
  return blocker;
}

beforeAll(async () => {
  db = await freshDatabase('group_commit');
  observer = new pg.Client(db.url);
  await observer.connect();
  await observer.query(
    `create table item (id integer primary key, a text unique, b text unique, amount integer check (amount > 0))`,
  );
  const { hostname, port } = new URL(db.url);
  proxy = await startProxy({ host: hostname, port: Number(port) });
});
beforeEach(async () => {
  await observer.query('truncate item');
  commit = openCommit();
});
afterEach(async () => {
  proxy.release();
  for (const opened of open.splice(0)) await opened.close();
});
afterAll(async () => {
  await proxy.close();
  await observer.end();
  await db.drop();
});

test('rows of concurrent requests share a commit', async () => {
  const results = await Promise.all(Array.from({ length: 500 }, (_, id) => commit.submit(row(id), soon())));
  expect(results.every((result) => result.kind === 'applied' && !result.resent)).toBe(true);
  expect(await count()).toBe(500);
  expect(commit.stats()).toMatchObject({ rows: 500, waiting: 0 });
  expect(commit.stats().batches).toBeLessThan(20);
});

test('of two rows with one key, in one batch or in two, one is applied and the other absent', async () => {
  const results = await Promise.all([
    commit.submit(row(1), soon()),
    commit.submit(row(1), soon()),
    commit.submit(row(2, { a: 'a1' }), soon()),
  ]);
  expect(results.map((result) => result.kind).sort()).toEqual(['absent', 'absent', 'applied']);
  expect(await count()).toBe(1);
});

test('a poison row fails alone', async () => {
  const ids = Array.from({ length: 100 }, (_, id) => id);
  const results = await Promise.allSettled(
    ids.map((id) => commit.submit(row(id, { amount: id === 50 ? 0 : 1 }), soon())),
  );
  const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  expect(failed).toHaveLength(1);
  expect(failed[0]).toBeInstanceOf(RowRefused);
  expect(failed[0]).toMatchObject({ sqlstate: '23514' });
  expect(await count()).toBe(99);
});

test('a value that cannot be a parameter fails alone, at once', async () => {
  const results = await Promise.allSettled([
    commit.submit(row(1), soon()),
    commit.submit(row(2, { amount: 2 ** 40 }), soon()),
  ]);
  expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected']);
  expect(await count()).toBe(1);
});

describe('a connection lost', () => {
  test('after the commit and before its answer: sent again, and nothing is there twice', async () => {
    await commit.submit(row(0), soon());
    proxy.holdAnswers();
    const results = Promise.all([1, 2, 3].map((id) => commit.submit(row(id), soon())));
    await waitFor('the commit that nobody was told of', async () => (await count()) === 4);
    proxy.cut();
    expect(await results).toEqual([1, 2, 3].map(() => ({ kind: 'absent', resent: true })));
    expect(await count()).toBe(4);
  });

  test('before the statement arrived: sent again and applied', async () => {
    await commit.submit(row(0), soon());
    proxy.cut();
    expect(await commit.submit(row(1), soon())).toMatchObject({ kind: 'applied' });
    expect(await count()).toBe(2);
  });

  test('by a killed backend while the statement runs: sent again and applied', async () => {
    const blocker = await blockItems();
    const result = commit.submit(row(1), soon());
    await waitFor('the waiting statement', async () => {
      const { rows } = await observer.query(
        `select pid from pg_stat_activity where application_name like 'group commit test%' and wait_event_type = 'Lock'`,
      );
      if (rows.length === 0) return false;
      await observer.query('select pg_terminate_backend($1)', [rows[0].pid]);
      return true;
    });
    await blocker.end();
    expect(await result).toMatchObject({ kind: 'applied', resent: true });
  });

  test('for longer than the row can wait: unknown, never "failed"', async () => {
    await commit.submit(row(0), soon());
    proxy.holdAnswers();
    const giveUpAt = performance.now() + 300;
    const result = commit.submit(row(1), giveUpAt);
    const refused = expect(result).rejects.toBeInstanceOf(CommitUnknown);
    await waitFor('the commit', async () => (await count()) === 2);
    await waitFor("the row's time to pass", () => performance.now() > giveUpAt);
    proxy.cut();
    await refused;
  });
});

test('a server that says nothing any more is left after a while, and the rows are sent again', async () => {
  const impatient = openCommit({ statementTimeoutMs: 200 });
  await impatient.submit(row(0), soon());
  proxy.holdAnswers();
  const result = impatient.submit(row(1), soon());
  await waitFor('the commit that nobody was told of', async () => (await count()) === 2);
  const silent = await observer.query(`select pid from pg_stat_activity where application_name = 'group commit test'`);
  await waitFor('the connection to be given up', async () => {
    const { rows } = await observer.query(
      `select pid from pg_stat_activity where application_name = 'group commit test'`,
    );
    return !rows.some(({ pid }) => silent.rows.some((old) => old.pid === pid));
  });
  proxy.release();
  expect(await result).toEqual({ kind: 'absent', resent: true });
});

test('a server that one statement has found silent is not asked by another one: it goes on a new connection', async () => {
  const [first, second] = [openCommit({ statementTimeoutMs: 200 }), openCommit()];
  await first.submit(row(0), soon());
  await second.submit(row(1), soon());
  proxy.vanish();
  await first.submit(row(2), soon());
  expect(await second.submit(row(3), soon())).toMatchObject({ kind: 'applied', resent: false });
});

test('a server that falls silent while a connection is being opened is left too: the row goes on another one', async () => {
  const target = new URL(db.url);
  let silenced = 0;
  const listener = createServer((client) => {
    const server = connect({ host: target.hostname, port: Number(target.port) });
    server.on('data', (chunk) => client.write(chunk));
    client.on('data', (chunk) => {
      if (silenced === 0 && chunk.includes('synchronous_standby_names') && ++silenced === 1) server.pause();
      server.write(chunk);
    });
    for (const [one, other] of [[client, server] as const, [server, client] as const])
      one.on('error', () => undefined).on('close', () => other.destroy());
  });
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const { port } = listener.address() as AddressInfo;
  const impatient = openCommit({ port, statementTimeoutMs: 200 });
  expect(await impatient.submit(row(0), performance.now() + 20_000)).toMatchObject({ kind: 'applied' });
  expect(silenced).toBe(1);
  await impatient.close();
  listener.close();
});

describe('a lock', () => {
  test('sends the batch to the slow lane; rows that come later do not wait for it', async () => {
    const blocker = await blockItems(`insert into item values (1, 'held', 'held', 1)`);
    const held = commit.submit(row(1), soon());
    await waitFor('the slow lane', () => commit.stats().slow > 0 || commit.stats().waiting === 0);
    expect(await commit.submit(row(2), soon())).toMatchObject({ kind: 'applied' });
    await blocker.end();
    expect(await held).toMatchObject({ kind: 'applied' });
  });

  test('of one row does not hold up the others of its batch for longer than one try', async () => {
    const blocker = await blockItems(`insert into item values (0, 'held', 'held', 1)`);
    const held = commit.submit(row(0), performance.now() + 60_000);
    const others = Array.from({ length: 50 }, (_, id) => commit.submit(row(1 + id), performance.now() + 60_000));
    // Were its tries all made first, it would have been refused before the first of the others was applied.
    expect((await Promise.all(others)).every(({ kind }) => kind === 'applied')).toBe(true);
    await blocker.query('rollback');
    await blocker.end();
    expect(await held).toMatchObject({ kind: 'applied' });
  });

  test('in opposite orders from two instances: every row is accounted for', async () => {
    const other = openCommit({ direct: true });
    const ids = Array.from({ length: 400 }, (_, id) => id);
    // The same values under a and b, reached in opposite orders of the key.
    const results = await Promise.all([
      ...ids.map((id) => commit.submit(row(id, { a: `x${id}`, b: `y${399 - id}` }), soon())),
      ...ids.map((id) => other.submit(row(1_000 + id, { a: `x${399 - id}`, b: `y${id}` }), soon())),
    ]);
    const applied = results.filter((result) => result.kind === 'applied').length;
    expect(results).toHaveLength(800);
    expect(await count()).toBe(applied);
    expect(applied).toBeGreaterThanOrEqual(400 / 2);
  });
});

describe('limits', () => {
  test('beyond the line nothing is sent and the row is told so', async () => {
    const small = openCommit({ maxWaiting: 10 });
    const results = await Promise.allSettled(Array.from({ length: 30 }, (_, id) => small.submit(row(id), soon())));
    const refused = results.filter((result) => result.status === 'rejected');
    expect(refused).toHaveLength(20);
    expect(refused.every((result) => result.reason instanceof QueueFull)).toBe(true);
    expect(await count()).toBe(10);
  });

  test('a row whose time has passed is not sent', async () => {
    await expect(commit.submit(row(1), performance.now() - 1)).rejects.toBeInstanceOf(NotSent);
    expect(await count()).toBe(0);
  });

  test('a batch holds at most as many rows as it may', async () => {
    const small = openCommit({ maxBatch: 7 });
    await Promise.all(Array.from({ length: 70 }, (_, id) => small.submit(row(id), soon())));
    expect(small.stats().batches).toBeGreaterThanOrEqual(10);
  });
});

test.each(['25006', '25P04', '57P04', '57P05'])(
  'a server that says %s is left, and the row goes to another one',
  async (sqlstate) => {
    await commit.submit(row(0), soon());
    const lane = async () => {
      const { rows } = await observer.query(
        `select pid from pg_stat_activity where application_name = 'group commit test'`,
      );
      return rows[0]?.pid as number | undefined;
    };
    const before = await lane();
    await observer.query(
      `create function refuse() returns trigger language plpgsql as $$ begin raise using errcode = '${sqlstate}'; end $$;
       create trigger refuse before insert on item for each row execute function refuse()`,
    );
    const result = commit.submit(row(1), soon());
    await waitFor('another connection', async () => ![before, undefined].includes(await lane()));
    await observer.query('drop function refuse cascade');
    expect(await result).toMatchObject({ kind: 'applied' });
  },
);

test('a server that takes no writes is not sent any; the row waits for one that does', async () => {
  await observer.query(`alter database ${db.name} set default_transaction_read_only = on`);
  const waits = openCommit();
  const error = await waits.submit(row(1), performance.now() + 200).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(NotSent);
  expect((error as NotSent).cause).toMatchObject({ code: '25006' });
  const result = waits.submit(row(2), soon());
  await observer.query(`alter database ${db.name} reset default_transaction_read_only`);
  expect(await result).toMatchObject({ kind: 'applied' });
});

test.each([
  ['the slow lane is full', { slowLaneMaxWaiting: 0 }],
  ['it is refused for itself', {}],
])('a row whose commit was not answered is not said to be stored nowhere, also when %s', async (_, options) => {
  const limited = openCommit(options);
  await limited.submit(row(0), soon());
  proxy.holdAnswers();
  const outcome = limited.submit(row(1), soon()).catch((reason: unknown) => reason);
  await waitFor('the commit that nobody was told of', async () => (await count()) === 2);
  await observer.query('alter table item add constraint poison check (id <> 1) not valid');
  proxy.cut();
  expect(await outcome).toBeInstanceOf(CommitUnknown);
  await observer.query('alter table item drop constraint poison');
});

test('a server that may lose commits is refused, the row is told why, and no connection stays behind', async () => {
  await observer.query(`alter database ${db.name} set synchronous_commit = off`);
  try {
    const error = await openCommit()
      .submit(row(1), performance.now() + 500)
      .catch((reason: unknown) => reason);
    await waitFor('the refused connections to be gone', async () => {
      const { rows } = await observer.query(
        `select count(*)::int as n from pg_stat_activity where application_name like 'group commit test%'`,
      );
      return rows[0].n === 0;
    });
    expect(error).toBeInstanceOf(NotSent);
    expect((error as NotSent).cause).toBeInstanceOf(LossySettings);
  } finally {
    await observer.query(`alter database ${db.name} reset synchronous_commit`);
  }
});
