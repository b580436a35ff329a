// `ballast source`, run as operators run it, against an order database.
import { execFile } from 'node:child_process';
import { migrateControl } from '@ballast/control';
import { migrate, openDatabase } from '@ballast/database';
import { freshDatabase, type TestDatabase } from '@ballast/database/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

// Each call is a process of its own, and the machine is shared with the other test files.
vi.setConfig({ testTimeout: 120_000 });

const PASSWORD = 'correct horse battery';
let control: TestDatabase;
let orders: TestDatabase;

beforeAll(async () => {
  control = await freshDatabase('source_control');
  orders = await freshDatabase('source_orders');
  await migrateControl(control.url);
  const knex = openDatabase({ url: orders.url, applicationName: 'test', poolMax: 1 });
  await migrate(knex, new URL('../services/collection/migrations/', import.meta.url));
  await knex.raw(
    `insert into journal_watermark (node, value, snapshot, written_at) values
       ('n', '2026-11-24T20:00:00Z', '100:100:', '2026-11-24T20:00:00Z'),
       ('n', '2026-11-24T21:00:00Z', '200:200:', '2026-11-24T21:00:00Z')`,
  );
  await knex.destroy();
  await ballast(['operator', 'first-admin', 'ann', '--reason', 'the team']);
  await ballast(['operator', 'add', 'ben', '--role', 'operator', '--reason', 'the team']);
});
afterAll(async () => {
  await control.drop();
  await orders.drop();
});

function ballast(words: readonly string[]): Promise<{ code: number; text: string }> {
  const urls = ['--control-url', control.url, '--database-url', orders.url];
  const env = { ...process.env, BALLAST_OPERATOR: 'ann', BALLAST_PASSWORD: PASSWORD, BALLAST_NEW_PASSWORD: PASSWORD };
  return new Promise((resolve) => {
    execFile(process.execPath, ['scripts/ballast.ts', ...words, ...urls], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), text: out + err });
    });
  });
}

async function raises(): Promise<string[]> {
  const knex = openDatabase({ url: orders.url, applicationName: 'test', poolMax: 1 });
  const { rows } = await knex.raw<{ rows: { raise: string }[] }>(
    `select concat_ws(' ', generation, since, reason, raised_by) as raise from generation_raised order by generation`,
  );
  await knex.destroy();
  return rows.map(({ raise }) => raise);
}

test.each<[string, string[], RegExp]>([
  ['no reason', [], /Say why/],
  ['an odd time', ['--reason', 'x', '--restored-to', 'yesterday'], /must be a time/],
  ['not an admin', ['--reason', 'x', '--as', 'ben'], /needs the role admin/],
])('a new generation is refused: %s', async (_, words, why) => {
  const { code, text } = await ballast(['source', 'new-generation', ...words]);
  expect(text).toMatch(why);
  expect(code).toBe(2);
  expect(await raises()).toEqual([]);
});

test('a new generation begins after the time of the backup, or with everything', async () => {
  const restored = ['source', 'new-generation', '--reason', 'disk lost', '--restored-to', '2026-11-24T20:30:00Z'];
  expect((await ballast(restored)).text).toContain('after 2026-11-24T20:00:00Z');
  expect((await ballast(['source', 'new-generation', '--reason', 'in doubt'])).text).toContain('the whole journal');
  expect(await raises()).toEqual(['2 100:100: disk lost ann', '3 1:1: in doubt ann']);
  const shown = await ballast(['source', 'show']);
  expect(shown.text).toMatch(/generation 3[\s\S]*in doubt[\s\S]*disk lost/);
});

test('where a dump was restored into another cluster, nothing of the old one counts: the whole journal belongs to it', async () => {
  const knex = openDatabase({ url: orders.url, applicationName: 'test', poolMax: 1 });
  await knex.raw('update journal_watermark set system = system + 1');
  await knex.destroy();
  const restored = ['source', 'new-generation', '--reason', 'moved', '--restored-to', '2026-11-24T20:30:00Z'];
  expect((await ballast(restored)).text).toContain('the whole journal');
  expect((await raises()).at(-1)).toBe('4 1:1: moved ann');
});
