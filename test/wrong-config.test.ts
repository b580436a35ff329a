// A service with a wrong configuration does not start, and says in one log line which field is wrong.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';

// Each start is a process of its own, and the machine is shared with the other test files.
vi.setConfig({ testTimeout: 60_000 });

const directory = mkdtempSync(join(tmpdir(), 'ballast-config-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Ran {
  readonly code: number | null;
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  readonly err: string;
}

function start(service: string, file: string | undefined): Promise<Ran> {
  const env = { ...process.env, BALLAST_CONFIG: file };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [`services/${service}/src/main.ts`], { env }, (_error, out, err) =>
      resolve({
        code: child.exitCode,
        lines: out
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => JSON.parse(line)),
        err,
      }),
    );
  });
}

function written(text: string): string {
  const file = join(directory, 'config.json');
  writeFileSync(file, text);
  return file;
}

const cases = ['collection', 'query', 'forwarding', 'bank-simulator'].flatMap((service): [string, string][] => [
  [service, 'one field that nobody knows'],
  [service, 'no JSON'],
  [service, 'no file'],
]);

test.each(cases)('%s with %s: one fatal line that names it, exit code 1, and no secret', async (service, wrong) => {
  const secret = 'not-to-be-printed-0123456789';
  const text = wrong === 'no JSON' ? `{"admin_token": "${secret}" oops` : JSON.stringify({ admin_token: secret });
  const ran = await start(service, wrong === 'no file' ? undefined : written(text));
  expect(ran.code).toBe(1);
  expect(ran.lines).toEqual([
    expect.objectContaining({ level: 'fatal', service, msg: expect.stringMatching(/^the configuration is wrong: /) }),
  ]);
  expect(ran.lines[0]?.['field']).toEqual(expect.stringMatching(/./));
  expect(ran.err).toBe('');
  expect(JSON.stringify(ran.lines)).not.toContain(secret);
});

test('a wrong value inside is named by its whole path', async () => {
  const banks = [{ name: 'bank_a', port: 0, books_dir: directory, latency: { p50_ms: -1, p99_ms: 0 } }];
  const ran = await start('bank-simulator', written(JSON.stringify({ banks, admin_port: 0 })));
  expect(ran.lines[0]?.['field']).toBe('banks.0.latency.p50_ms');
  const listen = { host: '127.0.0.1', port: 'ninety' };
  const query = await start('query', written(JSON.stringify({ instance: 'query-1', listen })));
  expect(query.lines[0]?.['field']).toBe('listen.port');
});
