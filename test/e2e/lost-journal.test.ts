// Parts of the journal are lost while the orders stand: a rebuild from zero still ends with what the orders table says.
import { execFile } from 'node:child_process';
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { adminCall } from '../../scripts/system/admin-call.ts';
import { readCredentials, serviceOf } from '../../scripts/system/run-file.ts';
import { query, quiet } from './support/settled.ts';
import { systemOfTheseTests } from './support/system.ts';

const REBUILD_LIMIT_MS = 60_000;
const under = systemOfTheseTests('lost-journal');

const inOrders = (sql: string) => query(under.system.runFile.databases.orders, sql);

/** Every order as collection has it, and as query has it. */
async function bothSides() {
  const { orders, query: readModel } = under.system.runFile.databases;
  const columns = `order_id, merchant_id, livemode, version, status, amount::text, currency, approved_amount::text, method, channel,
    terminal_id, batch_number, trace_number, merchant_reference, card_bin, card_last_four, decline_code, reason,
    business_date::text`;
  return {
    orders: await query(orders, `select ${columns}, answer_status as answer from orders order by order_id`),
    read: await query(readModel, `select ${columns}, answer from read_model.merchant_order order by order_id`),
  };
}

async function sell(count: number): Promise<void> {
  const traffic = under.tills.sell();
  await waitFor(`${count} payments`, () => traffic.answered() >= count, 60_000);
  await traffic.stop();
  await quiet(under.system.runFile);
}

async function equal(): Promise<void> {
  await waitFor(
    'the read model to be as the orders',
    async () => {
      const { orders, read } = await bothSides();
      return JSON.stringify(orders) === JSON.stringify(read);
    },
    REBUILD_LIMIT_MS,
  ).catch(async () => {
    const { orders, read } = await bothSides();
    expect(read).toEqual(orders);
  });
}

test('a rebuild from zero equals the orders, and goes on with what comes', { timeout: 180_000 }, async () => {
  const run = under.system.runFile;
  await sell(60);
  await equal();
  await inOrders(`
    alter table order_event disable trigger all;
    delete from order_event where right(order_id::text, 1) in ('0', '1', '2', '3');
    delete from order_event where right(order_id::text, 1) in ('4', '5', '6') and version = 1;
    delete from order_event where right(order_id::text, 1) in ('7', '8', '9') and version > 1;
    alter table order_event enable trigger all`);

  const { admin_token: token } = readCredentials(run);
  const internal = serviceOf(run, 'query').internal_url;
  await adminCall('POST', `${internal}/admin/rebuild`, { token });
  await sell(20); // meanwhile
  await waitFor(
    'the rebuild',
    async () =>
      ((await adminCall('GET', `${internal}/admin/rebuild`, { token })) as { state: string }).state === 'done',
    REBUILD_LIMIT_MS,
  );
  await equal();
  const { orders } = await bothSides();
  expect(orders.length).toBeGreaterThan(70);
  const snapshots = await query<{ count: number }>(
    run.databases.query,
    `select count(*)::int as count from read_model.order_story where type = 'snapshot'`,
  );
  expect(snapshots[0]?.count).toBeGreaterThan(10);
  expect(
    await query(run.databases.query, `select 1 from read_model.consumer_position where waits_for is not null`),
  ).toEqual([]);
  await sell(20);
  await equal();
});

function ballast(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  const { data_dir: dataDir } = under.system.runFile;
  return new Promise((resolve) => {
    execFile(process.execPath, ['scripts/ballast.ts', ...words, '--data', dataDir], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

test('operators see the readers, and retire one that is gone for good', { timeout: 60_000 }, async () => {
  await inOrders(
    `insert into journal_reader (reader, has, covered_at, updated_at)
     values ('ballast_forwarding/points', '5:5:', now(), now() - interval '61 minutes')`,
  );
  const listed = await ballast('reader', 'list');
  expect(listed).toMatchObject({ code: 0, err: '' });
  expect(listed.out).toMatch(/ballast_forwarding\/query +\d{4}-/);
  expect(await ballast('reader', 'retire', 'ballast_forwarding/points')).toMatchObject({ code: 2 });
  const retired = await ballast('reader', 'retire', 'ballast_forwarding/points', '--reason', 'the programme has ended');
  expect(retired).toMatchObject({ code: 0, err: '', out: expect.stringContaining('holds no day any more') });
  expect(await inOrders('select reader, action, reason from journal_reader_change')).toEqual([
    { reader: 'ballast_forwarding/points', action: 'retired', reason: 'the programme has ended' },
  ]);
});
