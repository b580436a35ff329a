// The processes the launcher runs beside PostgreSQL, each with its script, its configuration and its sign of readiness.
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { request } from 'undici';
import type { Installation } from './installation.ts';
import { type Layout, type ProcessName, projectRoot, type ServiceName } from './layout.ts';
import { writePrivate } from './run-file.ts';
import { urlOf } from './service-configs.ts';
import { type Child, supervise } from './supervise.ts';

export interface ServiceProcess extends Child {
  /** The last pid it had. */
  lastPid(): number | undefined;
  /** Resolves when it can do its work; rejects when it cannot come up. */
  ready(): Promise<void>;
}

export interface ProcessOptions {
  readonly name: ProcessName;
  readonly layout: Layout;
  readonly installation: Installation;
  readonly config: unknown;
  readonly say: (line: string) => void;
  readonly onChange: () => void;
}

const READY_POLL_MS = 50;
const PROBE_LIMIT_MS = 1_000;
export const READY_LIMIT_MS = 30_000;
/** A service that died this often while it is waited for will not come up by itself. */
const DEATHS_LIMIT = 3;

/**
 * Young objects get 3 x 16 MB, so that what lives for one payment is collected before it grows old; nothing is made old from
 * the start; old ones are collected when they have grown by 60 %; and full collections have one thread beside the service's
 * own, so that on a small machine they leave the other core to everybody else. Numbers: docs/decisions/0020.
 */
const nodeArguments = [
  '--disable-warning=ExperimentalWarning',
  '--v8-pool-size=1',
  '--no-allocation-site-pretenuring',
  '--max-semi-space-size=16',
  '--heap-growing-percent=60',
];
/**
 * What forwarding reads is delivered and dropped: with a smaller heap it collects sooner, some 200 MB at its peak instead of
 * 320. What is alive in it is small, and by V8's own measure the whole would be collected several times a second while it
 * catches up: growing by 150 % takes a quarter of the CPU away.
 */
const forwardingArguments = [
  '--disable-warning=ExperimentalWarning',
  '--v8-pool-size=1',
  '--no-allocation-site-pretenuring',
  '--max-semi-space-size=8',
  '--max-old-space-size=192',
  '--heap-growing-percent=150',
];

/** Writes its configuration; the process is started by `start`. */
export function prepareProcess(options: ProcessOptions): ServiceProcess {
  const { name, layout, installation, config, say, onChange } = options;
  const configFile = layout.configFile(name);
  writePrivate(configFile, config);
  let lastPid: number | undefined;
  let starts = 0;
  const child = supervise({
    name,
    // The argument is for whoever looks at the process list, our own next start among them: it names the installation.
    args: [...(name === 'forwarding' ? forwardingArguments : nodeArguments), scriptOf(name), configFile],
    cwd: projectRoot,
    env: environmentOf(configFile),
    logFile: layout.logFile(name),
    say,
    onStart: (pid) => {
      lastPid = pid;
      starts++;
      onChange();
    },
  });
  const probe = probeOf(name, installation);

  async function ready(): Promise<void> {
    const startsBefore = starts;
    const until = performance.now() + READY_LIMIT_MS;
    for (;;) {
      const reason = probe === undefined ? undefined : await whyNotReady(probe);
      if (reason === undefined) return;
      if (starts - startsBefore >= DEATHS_LIMIT) throw new Error(`it keeps dying (${child.lastDeath() ?? reason})`);
      if (performance.now() > until) throw new Error(`not ready after ${READY_LIMIT_MS / 1_000} s: ${reason}`);
      await pause(READY_POLL_MS);
    }
  }

  return { ...child, lastPid: () => lastPid, ready };
}

function scriptOf(name: ProcessName): string {
  return name === 'traffic'
    ? join(projectRoot, 'scripts', 'system', 'traffic.ts')
    : join(projectRoot, 'services', name, 'src', 'main.ts');
}

/** Little is passed on: what a test runner or a shell has set must not change how a service behaves. */
function environmentOf(configFile: string): NodeJS.ProcessEnv {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'DEBUG', 'SystemRoot'];
  return {
    ...Object.fromEntries(kept.filter((key) => key in process.env).map((key) => [key, process.env[key]])),
    BALLAST_CONFIG: configFile,
    // glibc keeps freed memory per thread arena, eight to a core: with two, collection under full load stays 70 MB smaller.
    MALLOC_ARENA_MAX: '2',
    // Compiled code is kept from one start to the next: a start takes two thirds of the time, and 25 MB less.
    NODE_COMPILE_CACHE: join(projectRoot, '.cache', 'compile'),
  };
}

function probeOf(name: ProcessName, { ports }: Installation): string | undefined {
  const probes: Readonly<Record<ServiceName, string>> = {
    'bank-simulator': `${urlOf(ports.bank_admin)}/livez`,
    collection: `${urlOf(ports.collection_internal)}/readyz`,
    query: `${urlOf(ports.query_internal)}/readyz`,
    forwarding: `${urlOf(ports.forwarding_internal)}/readyz`,
  };
  return name === 'traffic' ? undefined : probes[name];
}

async function whyNotReady(url: string): Promise<string | undefined> {
  try {
    const { statusCode, body } = await request(url, { signal: AbortSignal.timeout(PROBE_LIMIT_MS) });
    const text = await body.text();
    return statusCode === 200 ? undefined : text.slice(0, 300);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
