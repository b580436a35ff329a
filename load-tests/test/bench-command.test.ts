import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/bench.ts', import.meta.url));
const bench = (...words: string[]) => spawnSync(process.execPath, [script, ...words], { encoding: 'utf8' });

test('a name that no benchmark has gets the list of those there are, and exit code 2', () => {
  const { status, stderr } = bench('nope');
  expect(status).toBe(2);
  expect(stderr).toMatch(/^ {2}core .*pgbench/m);
  expect(stderr).toMatch(/^ {2}whole .*read model/m);
});

test('no name, or more than a name, is used wrongly too', () => {
  expect(bench().status).toBe(2);
  expect(bench('core', 'twice').status).toBe(2);
});
