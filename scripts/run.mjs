// The launcher behind every npm script. Plain JavaScript that runs on Node 18 and later: it finds (or takes from npm)
// the Node the project runs on, installs the pinned dependencies once per lockfile, then hands over to scripts/<command>.ts.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs, { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_VERSION = '24.21.0'; // the npm package `node` carries the real binary
const PNPM_VERSION = '12.21.0';
const INSTALL_TIMEOUT_MS = 300_000;
const LOCK_STALE_MS = INSTALL_TIMEOUT_MS + 10_000;
const SILENCE_MS = 2_000;
const PARENT_LOOK_MS = 500;
const LEAST_FREE_BYTES = 1_000_000_000;
const EXIT_USAGE = 2;
const EXIT_CANNOT_RUN = 3;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [command = '', ...args] = process.argv.slice(2);

if (Number(process.versions.node.split('.')[0]) < 18)
  fail(`Node ${process.versions.node} is too old: install Node 18 or later.`);
if (!existsSync(join(root, 'scripts', `${command}.ts`))) {
  process.stderr.write(`No command "${command}". See the commands in README.md.\n`);
  process.exit(EXIT_USAGE);
}

const node = await findNode();
const env = {
  ...process.env,
  // What `npm test` has fetched (scripts/gate) stands behind what the machine has of its own.
  PATH: [dirname(node), process.env.PATH ?? '', join(root, '.cache', 'tools', 'bin')].join(delimiter),
  npm_config_update_notifier: 'false',
};
await installOnce();

const child = spawn(node, ['--disable-warning=ExperimentalWarning', join(root, 'scripts', `${command}.ts`), ...args], {
  cwd: root,
  env,
  stdio: 'inherit',
});
// At a terminal Ctrl-C reaches the child by itself; a signal sent to this process alone is passed on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => (signal !== 'SIGINT' || process.stdin.isTTY !== true) && child.kill(signal));
// A signal sent to npm ends npm and its shell, and never comes here; what is seen is another parent.
const parent = process.ppid;
if (process.env.npm_lifecycle_event !== undefined)
  setInterval(() => process.ppid !== parent && child.kill('SIGTERM'), PARENT_LOOK_MS).unref();
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));

async function findNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 24 || (major === 24 && minor >= 7)) return process.execPath; // 24.7: argon2, for operators' passwords
  const known = join(root, '.cache', `node-${NODE_VERSION}`);
  if (existsSync(known) && existsSync(readFileSync(known, 'utf8'))) return readFileSync(known, 'utf8');
  const what = `Node ${process.versions.node} is here; taking Node ${NODE_VERSION} from npm (126 MB the first time)`;
  const found = await npx(what, [`node@${NODE_VERSION}`, '-p', 'process.execPath'], process.env);
  const path = found.stdout.trim().split('\n').pop() ?? '';
  if (found.status !== 0 || !existsSync(path))
    fail(`Could not get Node ${NODE_VERSION} from npm:\n${found.stderr}\nInstall Node 24 yourself and try again.`);
  mkdirSync(dirname(known), { recursive: true });
  writeFileSync(known, path);
  return path;
}

/** Installs when the lockfile changed since the last install. Two commands at once: the second waits for the first. */
async function installOnce() {
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'pnpm-lock.yaml')))
    .update(PNPM_VERSION)
    .digest('hex');
  const stamp = join(root, 'node_modules', '.ballast-installed');
  const done = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
  if (done()) return;
  const lock = join(root, '.cache', 'install.lock');
  mkdirSync(dirname(lock), { recursive: true });
  await takeLock(lock, done);
  try {
    if (done()) return;
    refuseFullDisk();
    const words = [`pnpm@${PNPM_VERSION}`, 'install', '--frozen-lockfile', '--prefer-offline'];
    const result = await npx('Installing dependencies (pinned by the lockfile)', words, env);
    if (result.status !== 0) {
      const output = `${result.stdout}${result.stderr}`.trim().split('\n').slice(-15).join('\n');
      fail(`pnpm install failed:\n${output}\nCheck the network and the free disk space, then run the command again.`);
    }
    writeFileSync(stamp, wanted);
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

async function takeLock(lock, done) {
  for (let waited = 0; !done(); waited += 200) {
    try {
      mkdirSync(lock);
      writeFileSync(join(lock, 'pid'), String(process.pid));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') fail(`Cannot write below ${dirname(lock)}: ${error.message}`);
    }
    if (isAbandoned(lock)) rmSync(lock, { recursive: true, force: true });
    else if (waited % SILENCE_MS === 0) say('Another command is installing; waiting for it …');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Its holder was killed, or hangs beyond its own limit. */
function isAbandoned(lock) {
  try {
    const age = Date.now() - statSync(lock).mtimeMs;
    const pid = existsSync(join(lock, 'pid')) ? Number(readFileSync(join(lock, 'pid'), 'utf8')) : 0;
    return age > LOCK_STALE_MS || (pid > 0 ? !isAlive(pid) : age > SILENCE_MS);
  } catch (error) {
    if (error.code === 'ENOENT') return false; // the holder finished between our looks
    throw error;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function refuseFullDisk() {
  if (fs.statfsSync === undefined) return; // Node before 18.15 cannot tell
  const { bavail, bsize } = fs.statfsSync(root);
  if (bavail * bsize < LEAST_FREE_BYTES)
    fail(
      `The disk is nearly full: ${Math.floor((bavail * bsize) / 1e6)} MB free where ${root} lies, ` +
        `${LEAST_FREE_BYTES / 1e6} MB are needed. Free some space and try again.`,
    );
}

/** Runs `npx -y <words>`, saying so and, every two seconds, that it still runs. */
function npx(what, words, environment) {
  say(`${what} …`);
  const started = Date.now();
  const heartbeat = setInterval(() => say(`  … ${Math.round((Date.now() - started) / 1_000)} s so far`), SILENCE_MS);
  return new Promise((resolve) => {
    const options = { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'pipe'], timeout: INSTALL_TIMEOUT_MS };
    const running = spawn('npx', ['-y', ...words], { ...options, shell: process.platform === 'win32' });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'])
      running[stream].on('data', (chunk) => {
        output[stream] += chunk;
      });
    const end = (status, more = '') => {
      clearInterval(heartbeat);
      resolve({ status, stdout: output.stdout, stderr: output.stderr + more });
    };
    running.on('error', (error) => end(-1, error.message));
    running.on('close', (status) => end(status));
  });
}

function say(text) {
  process.stderr.write(`ballast: ${text}\n`);
}

function fail(text) {
  process.stderr.write(`ballast: ${text}\n`);
  process.exit(EXIT_CANNOT_RUN);
}
