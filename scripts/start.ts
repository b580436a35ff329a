// `npm start`: the whole system in the foreground, until Ctrl-C. A second start finds the first.
import { setTimeout as pause } from 'node:timers/promises';
import { CannotRun } from './system/cannot-run.ts';
import { exitCode, readOptions, runCommand, say } from './system/command.ts';
import { layoutOf } from './system/layout.ts';
import { AlreadyRunning, holderOf } from './system/lock.ts';
import { printedBlock } from './system/printed-block.ts';
import { NotRunning, type RunFile, readRunFile } from './system/run-file.ts';
import { selfCheck } from './system/self-check.ts';
import { type System, startSystem } from './system/start-system.ts';
import { StopAsked } from './system/steps.ts';

const usage = 'Usage: npm start [-- [--data DIR] [--no-traffic] [--kafka] [--any-ports]]';
const OTHER_START_LIMIT_MS = 120_000;
const SILENCE_MS = 2_000;
const POLL_MS = 100;

await runCommand(async () => {
  const { dataDir, values } = readOptions(
    { 'no-traffic': { type: 'boolean' }, kafka: { type: 'boolean' }, 'any-ports': { type: 'boolean' } },
    usage,
  );
  const stopAsked = new AbortController();
  // Often twice: from the terminal, and passed on by npm. Stopping is bounded, so a second one changes nothing.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopAsked.abort());

  let system: System;
  try {
    const traffic = values['no-traffic'] !== true;
    const ports = values['any-ports'] === true ? 'any' : 'usual';
    const demo = { traffic, demoRules: true, kafka: values.kafka === true, ports } as const;
    system = await startSystem({ dataDir, ...demo, log: say, signal: stopAsked.signal });
  } catch (error) {
    if (error instanceof StopAsked) {
      say('Stopped before it was up.');
      return exitCode.done;
    }
    if (!(error instanceof AlreadyRunning)) throw error;
    say(`${error.message} This start changes nothing.`);
    say(printedBlock(await runOfTheOther(dataDir)));
    return exitCode.done;
  }
  try {
    if (!stopAsked.signal.aborted) await prove(system);
    if (!stopAsked.signal.aborted) await new Promise((resolve) => stopAsked.signal.addEventListener('abort', resolve));
  } finally {
    say('\nStopping …');
    const heartbeat = setInterval(() => say('  … still stopping'), SILENCE_MS);
    await system.stop();
    clearInterval(heartbeat);
  }
  say('Stopped. The data stay; npm start goes on from there.');
  return exitCode.done;
});

async function prove(system: System): Promise<void> {
  const checks = await selfCheck(system.runFile);
  say(printedBlock(system.runFile));
  say('  Self-check:');
  for (const { what, ok, seen } of checks) say(`  ${ok ? '✓' : '✗'} ${what} (${seen})`);
  if (checks.some(({ ok }) => !ok)) say('\n  Something is wrong. Find out with: npm run doctor');
  say('');
}

/** What another launcher runs, or is just starting. */
async function runOfTheOther(dataDir: string): Promise<RunFile> {
  const started = performance.now();
  let saidAt = started;
  for (;;) {
    try {
      return readRunFile(dataDir);
    } catch (error) {
      if (!(error instanceof NotRunning)) throw error;
    }
    const now = performance.now();
    if (holderOf(layoutOf(dataDir)) === undefined) throw new CannotRun('The other start ended. Try again.');
    if (now - started > OTHER_START_LIMIT_MS) throw new CannotRun('The other start does not get ready; stop it first.');
    if (now - saidAt > SILENCE_MS) {
      saidAt = now;
      say('  … it is still starting; waiting for it');
    }
    await pause(POLL_MS);
  }
}
