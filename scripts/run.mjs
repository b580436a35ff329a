// The launcher behind every npm script. Plain JavaScript that runs on Node 18 and later: it finds (or takes from npm)
// the Node the project runs on, installs the pinned dependencies once per lockfile, then hands over to scripts/<command>.ts.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_VERSION = '24.21.0'; // the npm package `node` carries the real binary
const PNPM_VERSION = '12.21.0';
const INSTALL_TIMEOUT_MS = 300_000;
const LOCK_STALE_MS = INSTALL_TIMEOUT_MS + 10_000;
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

const node = findNode();
const env = {
  ...process.env,
  PATH: dirname(node) + delimiter + (process.env.PATH ?? ''),
  npm_config_update_notifier: 'false',
};
installOnce();

const child = spawn(node, ['--disable-warning=ExperimentalWarning', join(root, 'scripts', `${command}.ts`), ...args], {
  cwd: root,
  env,
  stdio: 'inherit',
});
// Ctrl-C reaches the child through the terminal; a signal sent to this process alone is passed on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => signal !== 'SIGINT' && child.kill(signal));
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));

function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  say(`Node ${process.versions.node} is here; taking Node ${NODE_VERSION} from npm (126 MB the first time) …`);
  const found = npx([`node@${NODE_VERSION}`, '-p', 'process.execPath'], process.env, 'pipe');
  const path = found.stdout?.toString().trim().split('\n').pop() ?? '';
  if (found.status !== 0 || !existsSync(path))
    fail(`Could not get Node ${NODE_VERSION} from npm:\n${found.stderr}\nInstall Node 24 yourself and try again.`);
  return path;
}

/** Installs when the lockfile changed since the last install. Two commands at once: the second waits for the first. */
function installOnce() {
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'pnpm-lock.yaml')))
    .update(PNPM_VERSION)
    .digest('hex');
  const stamp = join(root, 'node_modules', '.ballast-installed');
  const done = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
  if (done()) return;
  const lock = join(root, '.cache', 'install.lock');
  mkdirSync(dirname(lock), { recursive: true });
  takeLock(lock, done);
  try {
    if (done()) return;
    say('Installing dependencies (pinned by the lockfile) …');
    const result = npx([`pnpm@${PNPM_VERSION}`, 'install', '--frozen-lockfile', '--prefer-offline'], env, 'pipe');
    if (result.status !== 0) {
      const output = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim().split('\n').slice(-15).join('\n');
      fail(`pnpm install failed:\n${output}\nCheck the network and the free disk space, then run the command again.`);
    }
    writeFileSync(stamp, wanted);
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function takeLock(lock, done) {
  for (let waited = 0; !done(); waited += 200) {
    try {
      mkdirSync(lock);
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') fail(`Cannot write below ${dirname(lock)}: ${error.message}`);
    }
    const age = ageOf(lock);
    if (age > LOCK_STALE_MS) rmSync(lock, { recursive: true, force: true });
    if (waited % 2000 === 0) say('Another command is installing; waiting for it …');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
}

function ageOf(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch (error) {
    if (error.code === 'ENOENT') return 0; // the holder finished between our two looks
    throw error;
  }
}

function npx(words, environment, stdio) {
  return spawnSync('npx', ['-y', ...words], {
    cwd: root,
    env: environment,
    stdio: ['ignore', stdio, 'pipe'],
    timeout: INSTALL_TIMEOUT_MS,
    shell: process.platform === 'win32',
  });
}

function say(text) {
  process.stderr.write(`ballast: ${text}\n`);
}

function fail(text) {
  process.stderr.write(`ballast: ${text}\n`);
  process.exit(EXIT_CANNOT_RUN);
}
