// I-33 finds each way of tampering with the audit, the one included that no look at the database alone can find.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Change, followControl, migrateControl, openControlStore } from '@ballast/control';
import { freshDatabase } from '@ballast/database/testing';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { auditIsWhole } from '../checker/audit.ts';
import type { World } from '../checker/invariant.ts';

const directory = mkdtempSync(join(tmpdir(), 'ballast-audit-'));
let database: Awaited<ReturnType<typeof freshDatabase>>;
let sql: pg.Client;

/** Ten changes, each applied by a process that keeps what it applied. */
beforeAll(async () => {
  database = await freshDatabase('audit');
  await migrateControl(database.url);
  sql = new pg.Client(database.url);
  await sql.connect();
  const store = openControlStore({ url: database.url });
  const log = { info: () => undefined, warn: () => undefined };
  const who = { service: 'test', instance: 'test-1', stateDir: directory };
  const follower = await followControl({ url: database.url, ...who, log, onChange: () => undefined });
  const password = 'correct horse battery';
  await store.addFirstAdmin({ name: 'ops', password }, 'a test');
  const by = await store.signIn({ name: 'ops', password, purpose: 'a test' });
  for (let change = 1; change < 10; change++) {
    const signed: Change = { by, reason: `change ${change}`, seen: await store.versionOf('channel:bank_a') };
    await store.nudge('bank_a', 'probe_now', signed);
  }
  await follower.close();
  await store.close();
});
afterAll(async () => {
  await sql.end();
  await database.drop();
  rmSync(directory, { recursive: true, force: true });
});

async function violations(controlCopies: readonly string[] = [join(directory, 'control.json')]): Promise<string[]> {
  const found: string[] = [];
  let evaluated = 0;
  const finding = {
    evaluated: (count = 1) => {
      evaluated += count;
    },
    violation: (text: string) => void found.push(text),
  };
  const input = { orders: '', books: [], histories: [], logs: [], quiet: false, control: database.url, controlCopies };
  await auditIsWhole().end?.({ input } as unknown as World, finding);
  expect(evaluated).toBeGreaterThan(5);
  return found;
}

test('an audit that nobody touched is whole', async () => {
  expect(await violations()).toEqual([]);
});

test.each([
  ['a changed row', "update audit set reason = 'another' where seq = 3", /row 3 was changed/],
  ['a row in the middle gone', 'delete from audit where seq = 5', /row 5 is missing/],
  ['the last row gone', 'delete from audit where seq = 10', /the head says 10/],
  [
    'the last row gone, and the head with it',
    `with gone as (delete from audit where seq = 10 returning previous)
     update control_head set audit_seq = 9, audit_hash = (select previous from gone)`,
    /has applied version 10, which the audit does not have/,
  ],
])('%s is found', async (_name, tampering, says) => {
  await sql.query('create table audit_before as table audit; create table head_before as table control_head');
  const untriggered = (statement: string) =>
    sql.query(`alter table audit disable trigger user; ${statement}; alter table audit enable trigger user`);
  await untriggered(tampering);
  const found = await violations();
  await untriggered(`delete from audit; insert into audit select * from audit_before;
    update control_head set audit_seq = b.audit_seq, audit_hash = b.audit_hash from head_before b;
    drop table audit_before, head_before`);
  expect(found.join('; ')).toMatch(says);
  expect(await violations()).toEqual([]);
});
