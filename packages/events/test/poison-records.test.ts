// What a topic may hold that no table can: parked where its order can be named, passed over where it cannot, and the records
// behind it flow.
import { BEFORE_EVERYTHING } from '@ballast/contracts';
import { type Knex, openDatabase } from '@ballast/database';
import { freshDatabase, type TestDatabase } from '@ballast/database/testing';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { migrateConsumer, openConsumer } from '../src/index.ts';
import { eventRecord, type IncomingRecord, messageOf, watermarkRecord } from '../src/kafka/record.ts';
import { watermark } from './support/events.ts';
import { event, orderId, quiet } from './support/kafka.ts';

let database: TestDatabase;
let knex: Knex;

beforeAll(async () => {
  database = await freshDatabase('poison_records');
  knex = openDatabase({ url: database.url, applicationName: 'poison test', poolMax: 4 });
  await migrateConsumer(knex);
});
afterAll(async () => {
  await knex.destroy();
  await database.drop();
});
beforeEach(() =>
  knex.raw('truncate consumer_position, consumer_held, consumer_parked, consumer_watermark, consumer_stream'),
);

interface Changes {
  readonly key?: string;
  readonly value?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

function read({ key, value, headers }: ReturnType<typeof eventRecord>, changes: Changes = {}) {
  const record: IncomingRecord = {
    key: changes.key === undefined && key === null ? null : Buffer.from(changes.key ?? key ?? ''),
    value: Buffer.from(changes.value ?? value),
    headers: { ...Object.fromEntries(headers), ...changes.headers },
  };
  return messageOf(record);
}

const good = Array.from({ length: 10 }, (_, n) => read(eventRecord(event(100 + n, 1))));

function open() {
  return openConsumer({ name: 'test', knex, logger: quiet, apply: async () => undefined });
}

const contents: [string, string | Buffer][] = [
  ['a NUL in JSON', '{"reason":"\\u0000"}'],
  ['half a surrogate pair in JSON', '{"reason":"\\ud800"}'],
  ['a NUL that is not even JSON', 'a\0b'],
  ['bytes that are no UTF-8', Buffer.from([0xff, 0x00, 0xfe])],
];

test.each(contents)('%s: parked, and those behind it are applied', async (_, value) => {
  const poison = read(eventRecord(event(1, 1)), { value });
  expect(await open().deliver([poison, ...good])).toMatchObject({ applied: 10, parked: 1 });
  expect(await open().parked(10)).toMatchObject([{ order_id: orderId(1), version: 1 }]);
  expect(await open().retryParked(orderId(1))).toMatchObject({ parked: 1 });
});

test.each(contents)('%s: held where it came early, parked when its turn comes', async (_, value) => {
  const poison = read(eventRecord(event(1, 2)), { value });
  expect(await open().deliver([poison, ...good])).toMatchObject({ applied: 10, held: 1 });
  expect(await open().deliver([read(eventRecord(event(1, 1)))])).toMatchObject({ applied: 1, parked: 1 });
});

test('an error that speaks of a NUL parks its event all the same', async () => {
  const consumer = openConsumer({
    name: 'test',
    knex,
    logger: quiet,
    apply: async (_, events) => {
      if (events.some(({ order_id }) => order_id === orderId(1))) throw new Error('it has a \0 in it');
    },
  });
  expect(await consumer.deliver([read(eventRecord(event(1, 1))), ...good])).toMatchObject({ applied: 10, parked: 1 });
  expect(await consumer.parked(1)).toMatchObject([{ reason: 'it has a  in it' }]);
});

test.each<[string, Changes]>([
  ['a version beyond all counting', { headers: { ce_sequence: '3000000000' } }],
  ['a generation beyond all counting', { headers: { ce_generation: '3000000000' } }],
  ['a source that is no name', { headers: { ce_source: 'collec\0tion' } }],
  ['a source that is too long for an index', { headers: { ce_source: 'x'.repeat(10_000) } }],
])('%s: no record of ours', (_, changes) => {
  expect(read(eventRecord(event(1, 1)), changes)).toBeUndefined();
});

const mark = watermarkRecord(watermark(BEFORE_EVERYTHING, null));
const saying = (changes: object): Changes => ({
  value: JSON.stringify({ ...JSON.parse(String(mark.value)), ...changes }),
});

test.each<[string, Changes]>([
  ['a node that is no name', saying({ node: '\0' })],
  ['the 30th of February', saying({ value: '2026-02-30T00:00:00.000000Z' })],
  ['the year nought', saying({ since: '0000-01-01T00:00:00.000000Z' })],
  ['a generation that no table holds', saying({ replaced: [{ generation: 3_000_000_000, from: BEFORE_EVERYTHING }] })],
])('a watermark with %s: no record of ours', (_, changes) => {
  expect(read(mark, changes)).toBeUndefined();
  expect(read(mark)).toMatchObject({ kind: 'watermark' });
});
