// Everything dies, in any order, under traffic: nothing acknowledged is lost, nothing is charged twice.
import { readFileSync } from 'node:fs';
import { waitFor } from '@ballast/database/testing';
import { expect, test } from 'vitest';
import { readCredentials } from '../../scripts/system/run-file.ts';
import type { PartName } from '../../scripts/system/start-system.ts';
import { expectInvariants, expectReadModelEqualsJournal, query, quiet } from './support/settled.ts';
import { systemOfTheseTests } from './support/system.ts';

const under = systemOfTheseTests('crashes');

const mortal: readonly PartName[] = ['collection', 'forwarding', 'query', 'postgres-orders', 'postgres-main'];

test('kill -9 of each service and server under traffic, in random order', { timeout: 180_000 }, async () => {
  const { system } = under;
  const order = shuffled(mortal);
  const traffic = under.tills.sell();
  const served = (more: number) => {
    const before = traffic.answered();
    return waitFor(`${more} more payments`, () => traffic.answered() >= before + more, 20_000);
  };
  try {
    await served(20);
    for (const part of order) {
      await system.kill(part, 'SIGKILL');
      await system.restart(part);
      await served(10);
    }
  } catch (error) {
    throw new Error(`in the order ${order.join(', ')}: ${String(error)}`, { cause: error });
  } finally {
    await traffic.stop();
  }
  expect(traffic.unknown()).toBe(0); // every terminal learnt its outcome in the end
  await quiet(system.runFile);
  await expectReadModelEqualsJournal(system.runFile);
  await expectInvariants(system.runFile, under.tills.historyFile);
});

test('everything killed at once comes back with everything that was acknowledged', { timeout: 120_000 }, async () => {
  const { system } = under;
  const traffic = under.tills.sell();
  try {
    await waitFor('some payments', () => traffic.answered() >= 20, 20_000);
    await Promise.all(mortal.map((part) => system.kill(part, 'SIGKILL')));
    for (const part of ['postgres-orders', 'postgres-main', 'collection', 'query', 'forwarding'] as const)
      await system.restart(part);
    const before = traffic.answered();
    await waitFor('payments again', () => traffic.answered() >= before + 20, 20_000);
  } finally {
    await traffic.stop();
  }
  await quiet(system.runFile);
  await expectReadModelEqualsJournal(system.runFile);
  await expectInvariants(system.runFile, under.tills.historyFile);
});

test('collection frozen between commit 1 and the send, and continued after its lease, sends nothing', {
  timeout: 90_000,
}, async () => {
  const { system } = under;
  const { orders } = system.runFile.databases;
  const till = under.tills.all.find(
    ({ merchantId }) => merchantId === readCredentials(system.runFile).merchants[0]?.merchant_id,
  );
  if (till === undefined) throw new Error('no terminal');
  // Commit 1 of this one payment takes a second inside PostgreSQL: time to freeze the process that waits for it.
  await query(
    orders,
    `create function e2e_slow() returns trigger language plpgsql as $$
     begin perform pg_sleep(1); return new; end $$;
     create trigger e2e_slow before insert on order_event for each row
       when (new.version = 1 and new.data->>'merchant_reference' = 'frozen') execute function e2e_slow()`,
  );
  const body = till.sale({ reference: 'frozen' });
  const signed = till.terminal.sign('POST', '/v1/payments', JSON.stringify(body), { deadlineMs: 2_000 });
  const reply = till.post(body, signed);
  await waitFor('commit 1 to be under way', () =>
    query(orders, `select 1 from pg_stat_activity where wait_event = 'PgSleep'`).then((rows) => rows.length > 0),
  );
  await system.kill('collection', 'SIGSTOP');
  const lapsed = await waitFor(
    'commit 1, and the end of its lease',
    async () => {
      const rows = await query<{ order_id: string; bank_reference: string }>(
        orders,
        `select order_id, bank_reference from orders join attempt using (merchant_id, order_id)
         where merchant_reference = 'frozen' and lease_until < clock_timestamp()`,
      );
      return rows[0];
    },
    20_000,
  );
  await system.kill('collection', 'SIGCONT');
  await reply;
  await quiet(system.runFile);
  const [order] = await query<{ status: string }>(orders, 'select status from orders where order_id = $1', [
    lapsed.order_id,
  ]);
  expect(order?.status).toBe('not_completed');
  const books = Object.values(system.runFile.banks).map(({ books_file }) => readFileSync(books_file, 'utf8'));
  expect(books.filter((text) => text.includes(lapsed.bank_reference))).toEqual([]);
  await query(orders, 'drop trigger e2e_slow on order_event; drop function e2e_slow()');
  await expectReadModelEqualsJournal(system.runFile);
  await expectInvariants(system.runFile, under.tills.historyFile);
});

function shuffled<T>(all: readonly T[]): T[] {
  return all
    .map((value) => ({ value, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ value }) => value);
}
