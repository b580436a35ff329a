// The one gate, the same locally and in CI: lint → types → knip → tests (tidy among them). Stops at the first failure.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';

const results = '.cache/test-results.json';
const bin = (name: string) => `node_modules/.bin/${name}`;
const steps: [name: string, command: string, ...args: string[]][] = [
  ['lint', bin('biome'), 'check', '--error-on-warnings'],
  ['types', bin('tsc')],
  ['knip', bin('knip'), '--no-config-hints'],
  ['tests', bin('vitest'), 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${results}`],
];

mkdirSync('.cache', { recursive: true });
for (const [name, command, ...args] of steps) {
  const started = performance.now();
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stderr.write(`gate: ${name} ${status === 0 ? 'ok' : 'FAILED'} (${seconds} s)\n`);
  if (status !== 0) process.exit(1);
}

const counts = JSON.parse(readFileSync(results, 'utf8')) as Record<
  'numPassedTests' | 'numFailedTests' | 'numPendingTests',
  number
>;
process.stdout.write(
  `${counts.numPassedTests} passed, ${counts.numFailedTests} failed, ${counts.numPendingTests} skipped\n`,
);
// A component that cannot be had is a skip for a developer and a failure in CI.
if (process.env['CI'] === 'true' && counts.numPendingTests > 0) process.exit(1);
