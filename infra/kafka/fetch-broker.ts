// The broker's jars, from Maven into the project's cache, once per pom.xml. Whoever starts a broker calls this first.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const pom = fileURLToPath(new URL('pom.xml', import.meta.url));
const cache = fileURLToPath(new URL('../../.cache/kafka', import.meta.url));

/** Kafka 4 needs Java 17 to run a broker. */
const JAVA_AT_LEAST = 17;
/** A cold fetch takes 5-9 s; a slow line is given time, a dead one is not waited for without end. */
const FETCH_LIMIT_MS = 180_000;
const POLL_MS = 100;

/** Why no broker can run on this machine, as a sentence that says what to install; undefined when one can. */
export function missingForKafka(): string | undefined {
  const java = spawnSync('java', ['-version'], { encoding: 'utf8' });
  if (java.error !== undefined || java.status !== 0)
    return `Kafka needs Java ${JAVA_AT_LEAST} or later, and no "java" was found: install a JRE (Debian: openjdk-17-jre-headless).`;
  const version = Number(/version "(\d+)/.exec(java.stderr)?.[1] ?? 0);
  if (version < JAVA_AT_LEAST)
    return `Kafka needs Java ${JAVA_AT_LEAST} or later; the "java" found here is ${version}.`;
  if (existsSync(jarsDirectory())) return undefined;
  const mvn = spawnSync('mvn', ['-v'], { encoding: 'utf8' });
  if (mvn.error !== undefined || mvn.status !== 0)
    return 'Kafka is fetched with Maven, and no "mvn" was found: install it (Debian: maven).';
  return undefined;
}

/** Resolves to the Java class path of the broker. Two at once: the second waits for the first. */
export async function fetchBroker(): Promise<string> {
  const missing = missingForKafka();
  if (missing !== undefined) throw new Error(missing);
  const jars = jarsDirectory();
  if (!existsSync(jars)) {
    mkdirSync(cache, { recursive: true });
    const lock = join(cache, 'fetch.lock');
    await takeLock(lock, jars);
    try {
      if (!existsSync(jars)) await copyDependencies(jars);
    } finally {
      rmSync(lock, { force: true });
    }
  }
  return join(jars, '*');
}

function jarsDirectory(): string {
  return join(cache, createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 16));
}

/** Copied beside its place and then renamed, so that a fetch cut off half way leaves nothing that looks whole. */
async function copyDependencies(jars: string): Promise<void> {
  const half = `${jars}.fetching`;
  rmSync(half, { recursive: true, force: true });
  const words = ['-B', '-q', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${half}`];
  const child = spawn('mvn', [...words, '-DincludeScope=runtime'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: FETCH_LIMIT_MS,
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
  if (code !== 0) throw new Error(`Maven could not fetch the Kafka broker (exit ${code}):\n${output.trim()}`);
  renameSync(half, jars);
}

/** The lock holds its owner's pid: a fetch that was killed does not stop the next one. */
async function takeLock(lock: string, jars: string): Promise<void> {
  while (!existsSync(jars)) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (existsSync(lock) && !isAlive(Number(readFileSync(lock, 'utf8')))) rmSync(lock, { force: true });
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
