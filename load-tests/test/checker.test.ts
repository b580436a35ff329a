// Every check can fail: each invariant is shown a world in which it holds, and one with the fault that it exists for.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '@ballast/database/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findSecrets, planted } from '../checker/card-numbers.ts';
import { check } from '../checker/check.ts';
import { observeLeases } from '../checker/leases.ts';
import { openOrders } from '../checker/quiet.ts';
import { metricsText, openWorld, type SmallWorld, type WorldDatabase } from './support/small-world.ts';

let database: WorldDatabase;
beforeAll(async () => {
  database = await openWorld();
});
afterAll(() => database.close());

test('a world in which everything is right passes, and every invariant had something to look at', async () => {
  const world = await database.plant();
  const { results, skipped } = await check(world.input());
  expect(results.flatMap(({ id, violations }) => violations.map((text) => `${id} ${text}`))).toEqual([]);
  expect(results.every(({ evaluated }) => evaluated > 0)).toBe(true);
  expect(skipped.map(({ id }) => id)).toEqual(['I-33']); // the audit's: audit.test.ts has a world for it
});

test('an empty database is vacuous, not right', async () => {
  const world = await database.plant();
  await world.sql('delete from payment_key');
  const view = ['merchant_order', 'order_story', 'consumer_position'].map((table) => `read_model.${table}`);
  for (const table of ['order_event', 'attempt', 'orders', ...view]) await world.sql(`delete from ${table}`);
  const { results } = await check(world.input({ books: [], histories: [] }));
  const vacuous = results.filter(({ violations }) => violations.some((text) => text.startsWith('vacuous')));
  expect(vacuous.map(({ id }) => id)).toEqual(expect.arrayContaining(['I-02', 'I-05', 'I-10', 'I-14', 'I-20', 'I-29']));
});

test('what holds only after quiet is left out while traffic flows, and said so', async () => {
  const world = await database.plant();
  const { results, skipped } = await check(world.input({ quiet: false }));
  expect(skipped.map(({ id }) => id)).toEqual(expect.arrayContaining(['I-03', 'I-04', 'I-06']));
  expect(results.map(({ id }) => id)).not.toContain('I-03');
});

test('an order is open while it has work, also one that is declined and whose late approval is being reversed', async () => {
  const world = await database.plant();
  expect(await openOrders(world.client)).toBe(1); // with a person
  await world.sql(`update orders set work = 'reverse' where order_id = $1`, world.orders.declined.orderId);
  expect(await openOrders(world.client)).toBe(2);
  await world.sql(`update orders set work = null, status = 'processing'`);
  expect(await openOrders(world.client)).toBe(Object.keys(world.orders).length);
});

interface Fault {
  readonly id: string;
  readonly name: string;
  plant(world: SmallWorld): Promise<void> | void;
}

const setStatus = (order: keyof SmallWorld['orders'], status: string) => (world: SmallWorld) =>
  world.sql('update orders set status = $2 where order_id = $1', world.orders[order].orderId, status);
const setAttempt = (order: keyof SmallWorld['orders'], state: string) => (world: SmallWorld) =>
  world.sql('update attempt set state = $2 where order_id = $1', world.orders[order].orderId, state);

const faults: readonly Fault[] = [
  {
    id: 'I-01',
    name: 'an acknowledged order is gone',
    plant: async (world) => {
      for (const table of ['order_event', 'attempt', 'orders', 'payment_key'])
        await world.sql(`delete from ${table} where order_id = $1`, world.orders.approved.orderId);
    },
  },
  {
    id: 'I-01',
    name: 'the stored answer is not what was told',
    plant: (world) =>
      world.sql(`update orders set answer = answer || ' ' where order_id = $1`, world.orders.declined.orderId),
  },
  {
    id: 'I-01',
    name: 'the number that a void holds is free again',
    plant: (world) => world.sql('delete from payment_key where order_id is null'),
  },
  {
    id: 'I-02',
    name: 'two orders of one number',
    plant: (world) =>
      world.sql(
        'update orders set trace_number = $2 where order_id = $1',
        world.orders.declined.orderId,
        world.orders.approved.trace,
      ),
  },
  {
    id: 'I-02',
    name: 'two final answers to one key',
    plant: (world) => {
      const first = world.history[0];
      if (first?.body != null) world.history.push({ ...first, body: first.body.replace('1250', '1251') });
    },
  },
  {
    id: 'I-03',
    name: 'a charge that nothing explains',
    plant: (world) => {
      const entry = world.books[0];
      if (entry !== undefined) world.books.push({ ...entry, reference: 'STRANGER' });
    },
  },
  {
    id: 'I-03',
    name: 'the bank keeps what we call reversed',
    plant: (world) => {
      world.books.splice(
        world.books.findIndex((entry) => entry.kind === 'reversal'),
        1,
      );
    },
  },
  { id: 'I-04', name: 'an attempt stays in doubt', plant: setAttempt('approved', 'in_doubt') },
  { id: 'I-04', name: 'sent, and we say it never left', plant: setAttempt('declined', 'not_sent') },
  { id: 'I-04', name: 'an order stays open', plant: setStatus('reversed', 'reversing') },
  {
    id: 'I-04',
    name: 'with a person, without evidence',
    plant: (world) =>
      world.sql('update person_case set evidence = null where order_id = $1', world.orders.stuck.orderId),
  },
  {
    id: 'I-04',
    name: 'needs a person, and is listed with none',
    plant: (world) => world.sql('delete from person_case'),
  },
  { id: 'I-03', name: 'the bank keeps what we say it refused', plant: setStatus('refused', 'declined') },
  {
    id: 'I-05',
    name: 'an epoch goes back',
    plant: (world) => {
      world.leases.push({ order_id: world.orders.approved.orderId, lease_epoch: 3, version: 1 });
    },
  },
  {
    id: 'I-05',
    name: 'sent after its deadline, and it stands',
    plant: (world) =>
      world.sql(
        `update attempt set last_send_at = now() - interval '1 minute' where order_id = $1`,
        world.orders.approved.orderId,
      ),
  },
  {
    id: 'I-06',
    name: 'told declined, booked as approved',
    plant: (world) =>
      world.sql(`update orders set answer_status = 'declined' where order_id = $1`, world.orders.approved.orderId),
  },
  { id: 'I-06', name: 'told approved, then declined', plant: setStatus('approved', 'declined') },
  {
    id: 'I-07',
    name: 'approved without the bank',
    plant: (world) => {
      world.books.splice(0, 1);
    },
  },
  {
    id: 'I-07',
    name: 'the amount in the answer was ignored',
    plant: (world) => {
      const entry = world.books[0];
      if (entry !== undefined) world.books[0] = { ...entry, amount: 1251 };
    },
  },
  {
    id: 'I-08',
    name: 'two attempts stand',
    plant: async (world) => {
      const { orderId, reference } = world.orders.approved;
      await world.sql(
        `insert into attempt select merchant_id, order_id, 2, state, channel, 'SECOND', bank_merchant_number,
           bank_terminal_number, amount, currency, livemode, last_send_at from attempt where order_id = $1`,
        orderId,
      );
      const entry = world.books.find((charge) => charge.reference === reference);
      if (entry !== undefined) world.books.push({ ...entry, reference: 'SECOND' });
    },
  },
  {
    id: 'I-08',
    name: 'given back twice',
    plant: (world) => {
      const entry = world.books.find(({ kind }) => kind === 'reversal');
      if (entry !== undefined) world.books.push(entry);
    },
  },
  {
    id: 'I-10',
    name: 'captured more than the amount',
    plant: (world) =>
      world.sql('update orders set approved_amount = 9999 where order_id = $1', world.orders.approved.orderId),
  },
  {
    id: 'I-10',
    name: 'the bank gave back more than it took',
    plant: (world) => {
      const entry = world.books[0];
      if (entry === undefined) return;
      const refund = { ...entry, kind: 'refund' as const, original_reference: entry.reference };
      world.books.push({ ...refund, reference: 'R1' }, { ...refund, reference: 'R2' });
    },
  },
  { id: 'I-14', name: 'the row moved without an event', plant: setStatus('approved', 'declined') },
  {
    id: 'I-14',
    name: 'an illegal move',
    plant: (world) =>
      world.sql(
        `update order_event set type = 'in_doubt', data = data || '{"status": "in_doubt"}'
         where order_id = $1 and version = 2`,
        world.orders.refused.orderId,
      ),
  },
  {
    id: 'I-20',
    name: 'an event is missing',
    plant: (world) =>
      world.sql('delete from order_event where order_id = $1 and version = 2', world.orders.reversed.orderId),
  },
  {
    id: 'I-22',
    name: 'an event was not applied',
    plant: (world) =>
      world.sql(
        'update read_model.consumer_position set version = 1 where order_id = $1',
        world.orders.approved.orderId,
      ),
  },
  {
    id: 'I-22',
    name: 'an order is parked',
    plant: (world) =>
      world.sql(
        `update read_model.consumer_position set waits_for = 'parked' where order_id = $1`,
        world.orders.approved.orderId,
      ),
  },
  {
    id: 'I-23',
    name: 'the read model says another status',
    plant: (world) =>
      world.sql(
        `update read_model.merchant_order set status = 'declined' where order_id = $1`,
        world.orders.approved.orderId,
      ),
  },
  {
    id: 'I-23',
    name: 'an order is missing in the read model',
    plant: (world) =>
      world.sql('delete from read_model.merchant_order where order_id = $1', world.orders.approved.orderId),
  },
  {
    id: 'I-23',
    name: 'the story tells another state',
    plant: (world) =>
      world.sql(
        `update read_model.order_story set state = (state::jsonb || '{"amount": 1}')::json
         where order_id = $1 and version = 1`,
        world.orders.approved.orderId,
      ),
  },
  {
    id: 'I-27',
    name: 'a transaction longer than a second',
    plant: (world) => {
      world.metrics = metricsText(9, 10);
    },
  },
  {
    id: 'I-27',
    name: 'a call inside a transaction',
    plant: (world) => {
      world.log.push('{"level":"error","err":{"type":"ExternalCallInTransaction"}}');
    },
  },
  {
    id: 'I-29',
    name: 'a live charge for a test order',
    plant: (world) => {
      const entry = world.books[0];
      if (entry !== undefined) world.books[0] = { ...entry, livemode: true };
    },
  },
  {
    id: 'I-29',
    name: 'an event of the other mode',
    plant: (world) =>
      world.sql(
        'update order_event set livemode = true where order_id = $1 and version = 1',
        world.orders.approved.orderId,
      ),
  },
  {
    id: 'I-30',
    name: 'a card number in a log',
    plant: (world) => {
      world.log.push('{"level":"info","pan":"4242 4242 4242 4242"}');
    },
  },
  {
    id: 'I-30',
    name: 'a card number in a sealed column that is not sealed',
    plant: (world) =>
      world.sql(
        `update orders set card_sealed = '4242424242424242' where order_id = $1`,
        world.orders.approved.orderId,
      ),
  },
  {
    id: 'I-34',
    name: 'an unhandled rejection',
    plant: (world) => {
      world.log.push('[UnhandledPromiseRejection: This error originated …]');
    },
  },
  {
    id: 'I-34',
    name: 'a fatal line',
    plant: (world) => {
      world.log.push('{"level":"fatal","msg":"cannot start"}');
    },
  },
];

describe('turns red', () => {
  test.each(faults.map((fault) => [fault.id, fault.name, fault] as const))('%s: %s', async (id, _name, fault) => {
    const world = await database.plant();
    await fault.plant(world);
    const { results } = await check(world.input());
    const found = results.find((result) => result.id === id);
    expect(found?.violations).not.toEqual([]);
  });
});

test('a person whom nobody expected is a violation', async () => {
  const world = await database.plant();
  const { results } = await check(world.input({ expectsPerson: () => false }));
  const red = results.filter(({ violations }) => violations.length > 0).map(({ id }) => id);
  expect(red).toEqual(['I-03', 'I-04']);
});

test('epochs of open orders are written down while a run goes on', async () => {
  const world = await database.plant();
  const { orderId } = world.orders.stuck;
  const directory = mkdtempSync(join(tmpdir(), 'ballast-leases-'));
  const file = join(directory, 'leases.jsonl');
  const watch = await observeLeases(world.input().orders, file);
  await waitFor('a sighting', () => readFileSync(file, 'utf8').includes(orderId));
  await world.sql('update orders set lease_epoch = 1 where order_id = $1', orderId);
  await waitFor('the step back', () => /"lease_epoch":1,/.test(readFileSync(file, 'utf8')));
  await watch.stop();
  const { results } = await check(world.input({ leases: [file] }));
  expect(results.find(({ id }) => id === 'I-05')?.violations).toContainEqual(
    `order ${orderId}: epoch 2 → 1, version 3 → 3`,
  );
  rmSync(directory, { recursive: true });
});

test('a secret in a history is found, though it looks like nothing', async () => {
  const world = await database.plant();
  const secret = 'correct-horse-battery-staple';
  world.log.push(`{"level":"info","header":"${Buffer.from(`Bearer ${secret}`).toString('base64')}"}`);
  const { results } = await check(world.input({ secrets: [secret] }));
  expect(results.find(({ id }) => id === 'I-30')?.violations).toEqual(['collection.log holds secret beginning corr']);
});

test('numbers that are no card numbers are left alone', () => {
  const harmless = ['019a0000-0000-7000-8000-000000000001', '1764016496123', '2026-11-24T20:34:56.123456Z', '0x4242'];
  expect(harmless.flatMap((text) => findSecrets(`a ${text} b`, []))).toEqual([]);
  expect(findSecrets(planted('4539578763621486')['spaced'] ?? '', [])).toHaveLength(1);
});
