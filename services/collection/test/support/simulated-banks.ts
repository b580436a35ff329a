// The bank simulator as a process of its own, with its books in the test's folder.
import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '@ballast/database/embedded';
import { waitFor } from '@ballast/database/testing';

/** Machines that run tests are busy. */
const STARTS_WITHIN_MS = 30_000;

export interface BankSetting {
  readonly name: string;
  readonly [setting: string]: unknown;
}

export interface Book {
  readonly kind: string;
  readonly reference: string;
  readonly result: string;
  readonly amount: number;
  readonly livemode: boolean;
}

export interface SimulatedBanks {
  url(bank: string): string;
  /** What a bank does from now on (services/bank-simulator/README.md). */
  script(bank: string, script: object): Promise<void>;
  heal(bank: string): Promise<void>;
  books(bank: string): Book[];
  close(): Promise<void>;
}

export async function startBanks(directory: string, banks: readonly BankSetting[]): Promise<SimulatedBanks> {
  const ports = new Map(await Promise.all(banks.map(async ({ name }) => [name, await freePort()] as const)));
  const adminPort = await freePort();
  const child = startService('bank-simulator', directory, {
    banks: banks.map((bank) => ({ ...bank, port: ports.get(bank.name), books_dir: directory })),
    admin_port: adminPort,
  });
  await untilAnswers(`http://127.0.0.1:${adminPort}/livez`);

  async function behaviour(method: 'PUT' | 'DELETE', bank: string, body?: object): Promise<void> {
    const reply = await fetch(`http://127.0.0.1:${adminPort}/banks/${bank}/behaviour`, {
      method,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
    if (!reply.ok) throw new Error(await reply.text());
  }

  return {
    url: (bank) => `http://127.0.0.1:${ports.get(bank)}`,
    script: (bank, script) => behaviour('PUT', bank, script),
    heal: (bank) => behaviour('DELETE', bank),
    books: (bank) =>
      readFileSync(join(directory, `${bank}.jsonl`), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line)),
    close: () => endService(child, 'SIGKILL'),
  };
}

/** A service with this configuration; its output is `<service>.log` of the folder. */
export function startService(service: string, directory: string, config: object): ChildProcess {
  const file = join(directory, `${service}.json`);
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  const log = openSync(join(directory, `${service}.log`), 'a');
  const main = fileURLToPath(new URL(`../../../${service}/src/main.ts`, import.meta.url));
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
    env: { ...process.env, BALLAST_CONFIG: file },
    stdio: ['ignore', log, log],
  });
}

export async function endService(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}

export async function untilAnswers(url: string): Promise<void> {
  const answers = () =>
    fetch(url).then(
      (reply) => reply.ok,
      () => false,
    );
  await waitFor(url, answers, STARTS_WITHIN_MS);
}
