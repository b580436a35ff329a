// `npm run reset`: stops what runs and removes the data folder with everything in it.
import { existsSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { CannotRun } from './system/cannot-run.ts';
import { exitCode, readOptions, runCommand, say } from './system/command.ts';
import { layoutOf, serverNames } from './system/layout.ts';
import { holderOf, takeLock } from './system/lock.ts';
import { signalIfThere } from './system/processes.ts';
import { endStaleKafka, endStalePostgres, endStaleServices, realPostgresDir } from './system/stale.ts';

const usage = 'Usage: npm run reset -- [--data DIR]';
const STOP_LIMIT_MS = 40_000;
const SAY_MS = 2_000;
const POLL_MS = 100;

await runCommand(async () => {
  const { dataDir } = readOptions({}, usage);
  const layout = layoutOf(dataDir);
  if (!existsSync(layout.installation)) {
    say(`There is no Ballast installation in ${layout.root}: nothing to remove.`);
    return exitCode.done;
  }
  await stopTheRunning();
  const lock = await takeLock(layout);
  await endStaleServices(layout, say);
  await endStaleKafka(layout);
  for (const name of serverNames) {
    await endStalePostgres(layout, name);
    const real = realPostgresDir(layout, name);
    rmSync(real, { recursive: true, force: true });
    if (real !== layout.postgresDir(name)) rmSync(dirname(real), { recursive: true, force: true }); // its stand-in
  }
  lock.release();
  rmSync(layout.root, { recursive: true, force: true });
  say(`Removed ${layout.root}. npm start begins from nothing.`);
  return exitCode.done;

  async function stopTheRunning(): Promise<void> {
    const holder = holderOf(layout);
    if (holder === undefined) return;
    say(`Stopping what runs (launcher pid ${holder.pid}) …`);
    signalIfThere(holder.pid, 'SIGTERM');
    const started = performance.now();
    for (let waited = 0; holderOf(layout) !== undefined; waited = performance.now() - started) {
      if (waited > STOP_LIMIT_MS)
        throw new CannotRun(`The launcher (pid ${holder.pid}) does not stop. End it, then try again.`);
      if (Math.floor(waited / SAY_MS) > Math.floor((waited - POLL_MS) / SAY_MS)) say('  … still stopping');
      await pause(POLL_MS);
    }
  }
});
