// Runs pgbench where Debian's PostgreSQL packages put it. Over TCP, as the service is.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { baselineValues, LANE_SETTINGS } from './values.ts';

const script = fileURLToPath(new URL('payment.sql', import.meta.url));
const DEBIAN = '/usr/lib/postgresql';

/** The newest one; undefined where there is none. */
export function findPgbench(): string | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : [];
  return [...versions.map((version) => join(DEBIAN, version, 'bin', 'pgbench')), '/usr/bin/pgbench'].find(existsSync);
}

/** Payments per second: scripts, of two transactions each. Rejects with pgbench's words when a transaction fails. */
export async function runPgbench(program: string, url: string, clients: number, seconds: number): Promise<number> {
  const { hostname, port, username, password, pathname } = new URL(url);
  const words = ['-n', '-M', 'prepared', '-c', String(clients), '-j', '2', '-T', String(seconds), '-f', script];
  for (const [name, value] of Object.entries(baselineValues)) words.push('-D', `${name}=${value}`);
  words.push('-h', hostname, '-p', port, '-U', username, pathname.slice(1));
  const child = spawn(program, words, {
    env: { PGPASSWORD: decodeURIComponent(password), PGOPTIONS: LANE_SETTINGS, PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject));
  const tps = /^tps = ([\d.]+)/m.exec(output)?.[1];
  const failed = Number(/number of failed transactions: (\d+)/.exec(output)?.[1] ?? 0);
  if (tps === undefined || failed > 0) throw new Error(`pgbench failed:\n${output}${errors}`.slice(0, 2_000));
  return Number(tps);
}
