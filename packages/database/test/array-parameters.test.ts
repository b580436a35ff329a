import { freshDatabase } from '@ballast/database/testing';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ArrayType, arrayParameter } from '../src/array-parameters.ts';

let db: Awaited<ReturnType<typeof freshDatabase>>;
let client: pg.Client;

beforeAll(async () => {
  db = await freshDatabase('arrays');
  client = new pg.Client(db.url);
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await db.drop();
});

/** As PostgreSQL sees the elements. */
async function seen(type: ArrayType, values: readonly unknown[]): Promise<(string | null)[]> {
  const { rows } = await client.query(
    `select v::text as v from unnest($1::${type}[]) with ordinality as t(v, n) order by n`,
    [arrayParameter(type, values)],
  );
  return rows.map((row) => row.v);
}

describe('an array comes to PostgreSQL as it was, nulls included', () => {
  const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\u0000') && value.isWellFormed());
  const cases: [ArrayType, fc.Arbitrary<unknown>, (value: never) => string][] = [
    ['uuid', fc.uuid(), (value: string) => value],
    ['text', text, (value: string) => value],
    ['integer', fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), String],
    ['bigint', fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), String],
    ['boolean', fc.boolean(), String],
    ['bytea', fc.uint8Array().map((bytes) => Buffer.from(bytes)), (value: Buffer) => `\\x${value.toString('hex')}`],
  ];
  test.each(cases)('%s', async (type, value, shown) => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.option(value), { maxLength: 20 }), async (values) => {
        expect(await seen(type, values)).toEqual(values.map((each) => (each === null ? null : shown(each as never))));
      }),
      { numRuns: 30 },
    );
  });

  test('timestamptz, to the millisecond, also before 2000 and with an offset', async () => {
    await client.query(`set time zone 'UTC'`);
    const times = ['2026-11-24T20:00:00.123Z', '1999-12-31T23:59:59.999Z', '2026-11-24T20:00:00+02:00', null];
    expect(await seen('timestamptz', times)).toEqual([
      '2026-11-24 20:00:00.123+00',
      '1999-12-31 23:59:59.999+00',
      '2026-11-24 18:00:00+00',
      null,
    ]);
  });
});

test.each([
  ['uuid', 'not-a-uuid'],
  ['timestamptz', 'tomorrow'],
  ['integer', 2 ** 31],
  ['bigint', 2n ** 63n],
] as const)('%s refuses %s', (type, value) => {
  expect(() => arrayParameter(type, [value])).toThrow();
});
