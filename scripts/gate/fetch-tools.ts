// Programs that tests ask and no npm package brings: taken out of Debian's packages into .cache, where the machine has those
// and not the programs. run.mjs has them on every command's PATH, behind the machine's own.
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { projectRoot } from '../system/layout.ts';

const script = fileURLToPath(new URL('fetch-tools.sh', import.meta.url));
const directory = join(projectRoot, '.cache', 'tools');
/** 15 s over a good line. Lint and types take half of that meanwhile. */
const LIMIT_MS = 90_000;

interface Tool {
  readonly program: string;
  readonly asksForItself: string;
  readonly debianPackage: string;
}

const tools: readonly Tool[] = [
  { program: 'kcat', asksForItself: '-V', debianPackage: 'kcat' },
  { program: 'promtool', asksForItself: '--version', debianPackage: 'prometheus' },
];

/** Resolves to a sentence for each that cannot be had: its tests skip, which in CI is a failure. */
export async function fetchTools(): Promise<string[]> {
  const missing = tools.filter((tool) => !isHere(tool));
  if (missing.length === 0) return [];
  const why = await fetch(missing);
  return missing
    .filter((tool) => !isHere(tool))
    .map(({ program, debianPackage }) => `${program} (Debian: ${debianPackage}) cannot be had: ${why}`);
}

function isHere({ program, asksForItself }: Tool): boolean {
  return spawnSync(program, [asksForItself]).status === 0;
}

/** Never for longer than LIMIT_MS; resolves to the last thing that was said. */
function fetch(missing: readonly Tool[]): Promise<string> {
  const pairs = missing.map(({ program, debianPackage }) => `${program}=${debianPackage}`);
  const child = spawn('sh', [script, directory, ...pairs], { stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS });
  process.once('exit', () => child.kill()); // the gate may have failed by then
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString('utf8');
    });
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', () =>
      resolve(child.killed ? `given up after ${LIMIT_MS / 1_000} s` : (said.trim().split('\n').at(-1) ?? '')),
    );
  });
}
