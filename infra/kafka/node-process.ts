// One node as a process of the operating system: formatted once, started, told apart from strangers by its command line.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface NodeFiles {
  /** Everything of the node lies here. */
  readonly directory: string;
  readonly classPath: string;
}

const log4j = fileURLToPath(new URL('log4j2.xml', import.meta.url));

/** A heap for a demo and for tests; a broker that runs out of it dies instead of limping on. */
const JVM = [
  '-Xmx256m',
  '-XX:MaxDirectMemorySize=128m',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1', // starts in 1.4 s instead of 2.5 s; the peak is lower, and still above what Node feeds it
  '-XX:+ExitOnOutOfMemoryError',
];
/** 1.4 s on an idle machine, 3 s after kill -9 (the old session); a loaded machine is given time. */
const START_LIMIT_MS = 40_000;
const STOP_LIMIT_MS = 15_000;
const POLL_MS = 25;

const logOf = (directory: string) => join(directory, 'broker.log');
const dataOf = (directory: string) => join(directory, 'data');
const pidFileOf = (directory: string) => join(directory, 'broker.pid');
const settingsOf = (directory: string) => join(directory, 'server.properties');

export const nodeLog = logOf;
export const nodeData = dataOf;

export function writeSettings(directory: string, settings: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(settingsOf(directory), settings, { mode: 0o600 });
}

/** Formats the node's log folder unless it is formatted: a second format fails, and would lose nothing but time. */
export async function formatNode({ directory, classPath }: NodeFiles, clusterId: string, scram: readonly string[]) {
  if (existsSync(join(dataOf(directory), 'meta.properties'))) return;
  rmSync(dataOf(directory), { recursive: true, force: true }); // a format that was cut off
  const words = [...JVM, ...logging(directory), '-cp', classPath, 'kafka.tools.StorageTool', 'format'];
  const users = scram.flatMap((user) => ['--add-scram', user]);
  // One word: an id in base64 begins with a dash once in 64 times.
  const child = spawn('java', [...words, `--cluster-id=${clusterId}`, '-c', settingsOf(directory), ...users], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output = `${output}${chunk}`.slice(-4_000);
    });
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) throw new Error(`Formatting a Kafka node failed (exit ${code}):\n${output.trim()}`);
}

/** Resolves to the pid at once; `untilListening` waits for it. Survives its parent, and Ctrl-C at the terminal. */
export function launchNode({ directory, classPath }: NodeFiles): number {
  const out = openSync(join(directory, 'broker.out'), 'w'); // what the JVM itself says; the broker logs to its own file
  const words = [...JVM, ...logging(directory), '-cp', classPath, 'kafka.Kafka', settingsOf(directory)];
  const child = spawn('java', words, { detached: true, stdio: ['ignore', out, out] });
  child.unref();
  if (child.pid === undefined) throw new Error('"java" could not be started');
  const file = pidFileOf(directory);
  writeFileSync(`${file}.new`, `${child.pid}\n`);
  renameSync(`${file}.new`, file);
  return child.pid;
}

/** Resolves when the node takes connections; rejects with its last lines when it dies or takes too long. */
export async function untilListening(directory: string, port: number): Promise<void> {
  const until = performance.now() + START_LIMIT_MS;
  while (!(await takesConnections(port))) {
    const dead = livingPid(directory) === undefined;
    if (dead || performance.now() > until)
      throw new Error(`Kafka did not start (${dead ? 'it exited' : 'no answer in time'}):\n${lastLines(directory)}`);
    await pause();
  }
}

/** The node's pid when it is alive. A pid may be a stranger's by now: its command line must name this folder. */
export function livingPid(directory: string): number | undefined {
  const file = pidFileOf(directory);
  if (!existsSync(file)) return undefined;
  const pid = Number(readFileSync(file, 'utf8'));
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  return commandLine(pid).includes(settingsOf(directory)) ? pid : undefined;
}

/** Empty: no such process, or one that is dead and not yet collected by its parent. */
function commandLine(pid: number): string {
  if (process.platform !== 'linux')
    return spawnSync('ps', ['-ww', '-o', 'args=', '-p', String(pid)], { encoding: 'utf8' }).stdout ?? '';
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return '';
    throw error;
  }
}

/** SIGTERM (a clean shutdown takes 0.2-0.6 s), then SIGKILL; or SIGKILL at once. Resolves when it is gone. */
export async function endNode(directory: string, signals: readonly NodeJS.Signals[]): Promise<void> {
  for (const signal of signals) {
    const pid = livingPid(directory);
    if (pid === undefined) return;
    process.kill(pid, signal);
    process.kill(pid, 'SIGCONT'); // a paused process would not see SIGTERM
    const until = performance.now() + STOP_LIMIT_MS;
    while (performance.now() < until) {
      if (livingPid(directory) === undefined) return;
      await pause();
    }
  }
  throw new Error(`The Kafka node in ${directory} did not stop`);
}

export function signalNode(directory: string, signal: NodeJS.Signals): void {
  const pid = livingPid(directory);
  if (pid === undefined) throw new Error(`The Kafka node in ${directory} is not running`);
  process.kill(pid, signal);
}

/**
 * SIGSTOP, and until each of its threads has stopped: on a busy machine one of them may answer for a while yet. Where there
 * is no /proc that moment is not waited for.
 */
export async function freezeNode(directory: string): Promise<void> {
  signalNode(directory, 'SIGSTOP');
  const tasks = `/proc/${livingPid(directory)}/task`;
  const runs = (thread: string) => !/\) [Tt] /.test(readFileSync(join(tasks, thread, 'stat'), 'utf8'));
  while (existsSync(tasks) && readdirSync(tasks).some(runs)) await pause();
}

export function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', () => end(true));
    socket.on('error', () => end(false));
  });
}

function logging(directory: string): string[] {
  return [`-Dlog4j2.configurationFile=${log4j}`, `-Dballast.log=${logOf(directory)}`];
}

function lastLines(directory: string): string {
  return [logOf(directory), join(directory, 'broker.out')]
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, 'utf8').trimEnd().split('\n').slice(-12).join('\n'))
    .join('\n');
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
