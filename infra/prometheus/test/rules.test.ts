// Rules and alerts: they stand only on metrics that the services have, each alert names a runbook that explains it, and
// promtool (of Debian's package prometheus) has them fire, and not fire, when they should.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const folder = fileURLToPath(new URL('..', import.meta.url));
const root = join(folder, '..', '..');
const read = (name: string) => readFileSync(join(folder, name), 'utf8');
const ruleFiles = ['rules.yaml', 'alerts.yaml'];
const dashboard = 'dashboard.json';

/** Given by Prometheus itself, or by prom-client to every process. */
const given = /^(up|process_start_time_seconds|process_resident_memory_bytes|nodejs_eventloop_lag_p99_seconds)$/;
const metricName = /\b(ballast_[a-z_]+|http_server_[a-z_]+|process_[a-z_]+|nodejs_[a-z_0-9]+)\b/g;

test('every metric that rules, alerts and the dashboard use is one that a service has', () => {
  const listed = [
    'ls-files',
    '--cached',
    '--others',
    '--exclude-standard',
    'services/*/src/*.ts',
    'packages/*/src/*.ts',
  ];
  const sources = execFileSync('git', listed, { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter((file) => file !== '' && existsSync(join(root, file)))
    .map((file) => readFileSync(join(root, file), 'utf8'))
    .join('\n');
  const used = new Set([...ruleFiles, dashboard].flatMap((file) => read(file).match(metricName) ?? []));
  const unknown = [...used].filter((name) => {
    const base = name.replace(/_(bucket|count|sum)$/, '');
    return !given.test(name) && !sources.includes(`'${name}'`) && !sources.includes(`'${base}'`);
  });
  expect(used.size).toBeGreaterThan(15);
  expect(unknown).toEqual([]);
});

test('every recorded series that an alert or the dashboard uses is recorded', () => {
  const recorded = new Set([...read('rules.yaml').matchAll(/- record: (\S+)/g)].map(([, name]) => name));
  const used = [...ruleFiles, dashboard].flatMap((file) => read(file).match(/\bballast:[a-z_]+:[a-z0-9_]+/g) ?? []);
  expect(used.filter((name) => !recorded.has(name))).toEqual([]);
});

test('every alert has a severity and a section in the runbook that it names', () => {
  const alerts = read('alerts.yaml').split('- alert: ').slice(1);
  expect(alerts.length).toBeGreaterThan(20);
  for (const text of alerts) {
    const name = text.slice(0, text.indexOf('\n'));
    expect([name, /severity: (page|ticket)\b/.test(text)]).toEqual([name, true]);
    const runbook = /runbook: (\S+)/.exec(text)?.[1] ?? '';
    const explained = new RegExp(`^#+ .*\\b${name}\\b`, 'm').test(readFileSync(join(root, runbook), 'utf8'));
    expect([name, runbook, explained]).toEqual([name, runbook, true]);
  }
});

test('what is said of a late event loop is what the way in does', () => {
  const inbound = readFileSync(join(root, 'packages/resilience/src/inbound.ts'), 'utf8');
  const [, from, to] = /lagFromMs: (\d+), lagToMs: ([\d_]+) \}/.exec(inbound) ?? [];
  const says = new RegExp(`from ${from} ms on[^.|]* ${Number(to?.replace('_', '')) / 1_000} s`);
  expect(/- alert: LoopLate[\s\S]*?runbook:/.exec(read('alerts.yaml'))?.[0]).toMatch(says);
  expect(readFileSync(join(root, 'docs/runbooks/processes.md'), 'utf8').replaceAll('\n', ' ')).toMatch(says);
});

test('promtool finds no fault, and alerts fire when they should', ({ skip }) => {
  const here = spawnSync('promtool', ['--version']).status === 0;
  skip(!here, 'promtool is missing: npm test fetches it where Debian has it');
  const promtool = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: folder, encoding: 'utf8' });
    expect([status, status === 0 ? '' : stdout + stderr]).toEqual([0, '']);
  };
  promtool('check', 'config', 'prometheus.yaml');
  promtool('check', 'rules', ...ruleFiles);
  promtool('test', 'rules', 'test/alerts.yaml', 'test/alerts-of-hours.yaml');
});
