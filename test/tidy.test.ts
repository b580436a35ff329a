// House rules that run as a test: pattern → use instead.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';

const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => /\.(ts|mjs)$/.test(file) && file !== 'test/tidy.test.ts');

const lineRules: { pattern: RegExp; instead: string; where?: RegExp }[] = [
  { pattern: /vi\.mock|jest\.mock/, instead: 'the real component' },
  { pattern: /\b(it|test|describe)\.only\(/, instead: 'running the whole file' },
  { pattern: /export \* from/, instead: 'naming each export' },
  { pattern: /@ts-ignore|@ts-nocheck|\bas any\b/, instead: 'a type that is true' },
  { pattern: /catch\s*\{\s*\}/, instead: 'a catch with a decision in it' },
  {
    pattern: /process\.env\b/,
    instead: 'config.ts',
    where: /^(packages|services)\/[^/]+\/src\/(?!config\.ts|testing\/)/,
  },
  {
    pattern: /console\.(log|error|warn)/,
    instead: 'the logger of @ballast/telemetry',
    where: /^(packages|services)\/[^/]+\/src\//,
  },
  { pattern: /['"`(= ]\/(root|home|work)\//, instead: 'a path relative to the project' },
];

const arrows: Record<string, string[]> = {
  '@ballast/resilience': [],
  '@ballast/contracts': [],
  '@ballast/telemetry': [],
  '@ballast/database': [],
  '@ballast/channels': ['@ballast/resilience', '@ballast/contracts'],
  '@ballast/events': ['@ballast/contracts', '@ballast/database'],
  '@ballast/control': ['@ballast/contracts', '@ballast/database'],
  '@ballast/http': ['@ballast/contracts', '@ballast/telemetry'],
};

test('no line breaks a house rule', () => {
  const broken = tracked.flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line, index) =>
        lineRules
          .filter((rule) => (rule.where === undefined || rule.where.test(file)) && rule.pattern.test(line))
          .map((rule) => `${file}:${index + 1} ${rule.pattern} → use ${rule.instead}`),
      ),
  );
  expect(broken).toEqual([]);
});

test('no source file is longer than 400 lines', () => {
  const long = tracked.filter((file) => readFileSync(file, 'utf8').split('\n').length > 401);
  expect(long).toEqual([]);
});

/** Forwarding's rooms, from the top down (ARCHITECTURE.md); what lies beside `main.ts` is open to all of them. */
const rooms = ['http', 'lead', 'delivery', 'tail', 'journal', 'source'];

test('a room of forwarding imports from those below it only', () => {
  const root = 'services/forwarding/src';
  const depth = (path: string) => rooms.indexOf(path.slice(root.length + 1).split('/')[0] ?? '');
  const inside = tracked.filter((file) => file.startsWith(`${root}/`) && depth(file) >= 0);
  expect(new Set(inside.map(depth)).size).toBe(rooms.length);
  const upward = inside.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/from '(\.[^']+)'/g)]
      .map(([, path = '']) => join(dirname(file), path))
      .filter((path) => depth(path) >= 0 && depth(path) < depth(file))
      .map((path) => `${file} → ${path}`),
  );
  expect(upward).toEqual([]);
});

/** Tools that drive a service's insides, and say which. */
const insiders = ['load-tests/doubt.ts', 'load-tests/sweep/rounds.ts', 'scripts/break.ts'];
const workspaceOf = (path: string) => /^(packages|services|infra)\/[^/]+/.exec(path)?.[0];

test('no relative import reaches into a package or service from outside, or out of its sources', () => {
  const reaching = tracked.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/(?:from|import\() ?'(\.[^']+)'/g)]
      .map(([, path = '']) => join(dirname(file), path))
      .filter((path) => {
        if (workspaceOf(path) === workspaceOf(file)) return false;
        return workspaceOf(path) !== undefined ? !insiders.includes(file) : file.includes('/src/');
      })
      .map((path) => `${file} → ${path}`),
  );
  expect(reaching).toEqual([]);
});

test('declared dependencies between packages are the arrows of ARCHITECTURE.md', () => {
  const manifests = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*/package.json'], {
    encoding: 'utf8',
  })
    .split('\n')
    .filter((file) => /^(packages|services)\//.test(file));
  expect(manifests.length).toBeGreaterThan(5);
  const upward = manifests.flatMap((file) => {
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as { name: string; dependencies?: Record<string, string> };
    const ours = Object.keys(manifest.dependencies ?? {}).filter((name) => name.startsWith('@ballast/'));
    const allowed = arrows[manifest.name] ?? Object.keys(arrows); // a service may use every package, and no service
    return ours.filter((name) => !allowed.includes(name)).map((name) => `${manifest.name} → ${name}`);
  });
  expect(upward).toEqual([]);
});
