// The real bank simulator as a process of its own, as the services see it.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '@ballast/database/embedded';
import { waitFor } from '@ballast/database/testing';

const main = fileURLToPath(new URL('../../../../services/bank-simulator/src/main.ts', import.meta.url));

export interface RunningBank {
  readonly url: string;
  books(): Record<string, unknown>[];
  script(script: object): Promise<void>;
  kill(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

export async function startBank(extra: object = {}): Promise<RunningBank> {
  const directory = mkdtempSync(join(tmpdir(), 'ballast-bank-'));
  const [port, adminPort] = [await freePort(), await freePort()];
  const config = join(directory, 'config.json');
  writeFileSync(
    config,
    JSON.stringify({ banks: [{ name: 'bank_a', port, books_dir: directory, ...extra }], admin_port: adminPort }),
  );
  const admin = `http://127.0.0.1:${adminPort}`;
  let child: ChildProcess;

  async function start(): Promise<void> {
    child = spawn(process.execPath, [main], {
      env: { ...process.env, BALLAST_CONFIG: config },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await waitFor('the bank', () =>
      fetch(`${admin}/livez`).then(
        (reply) => reply.ok,
        () => false,
      ),
    );
  }

  async function kill(): Promise<void> {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  await start();
  return {
    url: `http://127.0.0.1:${port}`,
    books: () =>
      readFileSync(join(directory, 'bank_a.jsonl'), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line)),
    script: async (script) => {
      const reply = await fetch(`${admin}/banks/bank_a/behaviour`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(script),
      });
      if (!reply.ok) throw new Error(await reply.text());
    },
    kill,
    restart: start,
    close: async () => {
      await kill();
      rmSync(directory, { recursive: true });
    },
  };
}
