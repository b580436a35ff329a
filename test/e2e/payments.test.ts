// The main job, end to end: a terminal's payment, from the counter to the merchant's screen.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Pool } from 'undici';
import { expect, test } from 'vitest';
import { metricsOf } from '../../scripts/system/check-input.ts';
import { projectRoot } from '../../scripts/system/layout.ts';
import { readCredentials, serviceOf } from '../../scripts/system/run-file.ts';
import { selfCheck } from '../../scripts/system/self-check.ts';
import { createTerminal } from '../../scripts/system/terminal.ts';
import { expectInvariants, expectReadModelEqualsJournal, query, quiet } from './support/settled.ts';
import { systemOfTheseTests } from './support/system.ts';

const under = systemOfTheseTests('payments');

test('the self-check of npm start passes', async () => {
  const checks = await selfCheck(under.system.runFile);
  expect(checks.filter(({ ok }) => !ok)).toEqual([]);
  expect(checks).toHaveLength(4);
});

test('a payment with curl and openssl alone, as the README writes it, is approved and its story is readable', ({
  skip,
}) => {
  const missing = ['bash', 'curl', 'openssl'].filter((program) => spawnSync(program, ['--version']).error);
  skip(missing.length > 0, `not on this machine: ${missing.join(', ')}`);
  const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');
  const [, script] = /<!-- runs in test\/e2e\/payments.test.ts -->\n```sh\n(.*?)```/s.exec(readme) ?? [];
  if (script === undefined) throw new Error('the README has lost its payment');
  const printed = execFileSync('bash', ['-euo', 'pipefail', '-c', script], { cwd: under.folder, encoding: 'utf8' });
  expect(printed).toMatch(/^HTTP\/1.1 201/m);
  expect(printed).toContain('"status":"approved"');
  expect(printed).toContain('"type":"approved"');
});

test('the same request 200 times over 20 sockets is one order, one charge, and one answer', async () => {
  const run = under.system.runFile;
  const { url } = serviceOf(run, 'collection');
  const [merchant] = readCredentials(run).merchants;
  const [key] = merchant?.terminals ?? [];
  const [till] = under.tills.all;
  if (key === undefined || till === undefined) throw new Error('no terminal');
  const sockets = new Pool(url, { connections: 20, pipelining: 1 });
  try {
    const terminal = createTerminal({ url, key, dispatcher: sockets });
    const body = till.sale({ currency: merchant?.currencies[0] ?? 'EUR', reference: 'two hundred copies' });
    const signed = terminal.sign('POST', '/v1/payments', JSON.stringify(body));
    const replies = await Promise.all(Array.from({ length: 200 }, () => terminal.send(signed)));
    expect(replies.filter(({ status }) => status !== 201 && status !== 409)).toEqual([]);
    expect(new Set(replies.filter(({ status }) => status === 201).map(({ text }) => text)).size).toBe(1);

    const orders = await query<{ bank_reference: string }>(
      run.databases.orders,
      'select bank_reference from attempt join orders using (merchant_id, order_id) where merchant_reference = $1',
      ['two hundred copies'],
    );
    expect(orders).toHaveLength(1);
    const books = Object.values(run.banks).map(({ books_file }) => readFileSync(books_file, 'utf8'));
    const charges = books
      .flatMap((text) => text.split('\n'))
      .filter((line) => line.includes(`${orders[0]?.bank_reference}`));
    expect(charges).toHaveLength(1);
  } finally {
    await sockets.close();
  }
});

test('with the second server, forwarding and query down and collection started anew, payments go on as before', {
  timeout: 90_000,
}, async () => {
  const { system } = under;
  await Promise.all((['forwarding', 'query', 'postgres-main'] as const).map((part) => system.kill(part, 'SIGKILL')));
  await system.restart('collection');
  const replies = await Promise.all(
    under.tills.all.flatMap((till) =>
      Array.from({ length: 10 }, async () => {
        const body = till.sale();
        return till.post(body, till.terminal.sign('POST', '/v1/payments', JSON.stringify(body)));
      }),
    ),
  );
  expect(replies.map((reply) => reply?.status)).toEqual(replies.map(() => 201));

  await system.restart('postgres-main');
  await system.restart('query');
  await system.restart('forwarding');
  await quiet(system.runFile);
  await expectReadModelEqualsJournal(system.runFile);
});

test('every invariant held, and no log has a card number or a secret', async () => {
  const { runFile } = under.system;
  await quiet(runFile);
  await expectReadModelEqualsJournal(runFile);
  const metrics = await metricsOf([serviceOf(runFile, 'collection').internal_url]);
  await expectInvariants(runFile, under.tills.historyFile, metrics);
});
