// Lint → types → knip → tests (tidy among them). Stops at the first failure.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';

const results = '.cache/test-results.json';
const bin = (name: string) => `node_modules/.bin/${name}`;
type Step = readonly [name: string, command: string, ...words: string[]];
const beforeTests: readonly Step[] = [
  ['lint', bin('biome'), 'check', '--error-on-warnings'],
  ['types', bin('tsc')],
  ['knip', bin('knip'), '--no-config-hints'],
];
const tests: Step = [
  'tests',
  bin('vitest'),
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${results}`,
];

interface Results {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

/** Resolves to the exit code. Tests begin when `prepared` has resolved: to what it could not have, in sentences. */
export async function runGate(prepared: Promise<readonly string[]>): Promise<0 | 1> {
  mkdirSync('.cache', { recursive: true });
  for (const step of beforeTests) if (!(await passes(step))) return 1;
  for (const sentence of await prepared) process.stderr.write(`gate: ${sentence}\n`);
  if (!(await passes(tests))) return 1;
  const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(results, 'utf8')) as Results;
  const skipped = testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.filter(({ status }) => status !== 'passed').map(({ fullName }) => `${name}: ${fullName}`),
  );
  for (const test of skipped) process.stderr.write(`gate: skipped ${test}\n`);
  process.stdout.write(`${numPassedTests} passed, ${numFailedTests} failed, ${skipped.length} skipped\n`);
  // A component that cannot be had is a skip for a developer and a failure in CI.
  return process.env['CI'] === 'true' && skipped.length > 0 ? 1 : 0;
}

async function passes([name, command, ...words]: Step): Promise<boolean> {
  const started = performance.now();
  const child = spawn(command, words, { stdio: 'inherit' });
  const status = await new Promise((resolve) => child.on('close', resolve).on('error', resolve));
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  process.stderr.write(`gate: ${name} ${status === 0 ? 'ok' : 'FAILED'} (${seconds} s)\n`);
  return status === 0;
}
