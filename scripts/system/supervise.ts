// One child process of the launcher, kept running. Its life:
//
//   running   the child is there
//   waiting   it died by itself; started again after a back-off that doubles, and says so
//   down      somebody asked for it: ended, or killed by `kill`; stays so until `start`
//
// A child has a process group of its own, so that Ctrl-C at the terminal reaches it through us, in order. Its output goes
// to a file, not through a pipe: it outlives a killed launcher, and the next one stops it.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, copyFileSync, openSync, statSync, truncateSync } from 'node:fs';
import { endProcess, signalIfThere } from './processes.ts';

export interface ChildOptions {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly logFile: string;
  readonly say: (line: string) => void;
  /** Called with each new pid. */
  readonly onStart: (pid: number) => void;
}

export interface Child {
  readonly name: string;
  pid(): number | undefined;
  /** How it ended the last time that it died by itself. */
  lastDeath(): string | undefined;
  start(): void;
  /** SIGTERM, SIGKILL after a grace; resolves when it is gone. It stays down. */
  stop(): Promise<void>;
  /** SIGKILL or SIGTERM: resolves when it is gone, and it stays down. Other signals are only passed on. */
  kill(signal: NodeJS.Signals): Promise<void>;
}

const FIRST_BACK_OFF_MS = 250;
const LONGEST_BACK_OFF_MS = 10_000;
/** Having run this long, it starts the back-off from its beginning again. */
const STABLE_MS = 30_000;
/** Services close within 5 s (their own promise); a second more before SIGKILL. */
const STOP_GRACE_MS = 6_000;
const LARGEST_LOG_BYTES = 64 * 1024 * 1024;
const LOG_LOOK_MS = 60_000;

type State =
  | { readonly kind: 'running'; readonly child: ChildProcess; readonly since: number; readonly gone: Promise<void> }
  | { readonly kind: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly kind: 'down' };

export function supervise(options: ChildOptions): Child {
  let state: State = { kind: 'down' };
  let lastDeath: string | undefined;
  let backOffMs = FIRST_BACK_OFF_MS;
  let logs: NodeJS.Timeout | undefined;

  function bound(): void {
    try {
      boundLog(options.logFile);
    } catch (error) {
      options.say(`${options.logFile} could not be bounded: ${String(error)}`);
    }
  }

  function start(): void {
    if (state.kind === 'running') return;
    if (state.kind === 'waiting') clearTimeout(state.timer);
    bound();
    logs ??= setInterval(bound, LOG_LOOK_MS).unref();
    const log = openSync(options.logFile, 'a', 0o600);
    const child = spawn(process.execPath, options.args, {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    const gone = new Promise<void>((resolve) => {
      child.once('exit', (code, signal) => {
        died(child, `${signal ?? `exit code ${code}`}`);
        resolve();
      });
      child.once('error', (error) => {
        died(child, error.message);
        resolve();
      });
    });
    state = { kind: 'running', child, since: performance.now(), gone };
    if (child.pid !== undefined) options.onStart(child.pid);
  }

  function died(child: ChildProcess, why: string): void {
    if (state.kind !== 'running' || state.child !== child) return; // asked for: `down` already
    if (performance.now() - state.since > STABLE_MS) backOffMs = FIRST_BACK_OFF_MS;
    options.say(`${options.name} died (${why}); starting it again in ${backOffMs} ms. Its log: ${options.logFile}`);
    state = { kind: 'waiting', timer: setTimeout(start, backOffMs) };
    lastDeath = why;
    backOffMs = Math.min(backOffMs * 2, LONGEST_BACK_OFF_MS);
  }

  /** From here on its death is what we wanted. */
  function expectDeath(): ChildProcess | undefined {
    const before = state;
    if (before.kind === 'waiting') clearTimeout(before.timer);
    state = { kind: 'down' };
    return before.kind === 'running' ? before.child : undefined;
  }

  return {
    name: options.name,
    pid: () => (state.kind === 'running' ? state.child.pid : undefined),
    lastDeath: () => lastDeath,
    start,
    stop: async () => {
      const child = expectDeath();
      clearInterval(logs);
      logs = undefined;
      if (child?.pid !== undefined) await endProcess(child.pid, STOP_GRACE_MS);
    },
    kill: async (signal) => {
      if (state.kind !== 'running') return;
      const { child, gone } = state;
      if (child.pid === undefined) return;
      if (signal !== 'SIGKILL' && signal !== 'SIGTERM') return void signalIfThere(child.pid, signal);
      expectDeath();
      signalIfThere(child.pid, signal);
      await gone;
    },
  };
}

/** A log beyond its limit becomes `<file>.1`. Appending writers go on at the beginning of the emptied file. */
function boundLog(file: string): void {
  const { size } = statSync(file, { throwIfNoEntry: false }) ?? { size: 0 };
  if (size <= LARGEST_LOG_BYTES) return;
  copyFileSync(file, `${file}.1`);
  truncateSync(file, 0);
}
