// `npm run bench -- NAME [--json]`: runs load-tests/NAME.ts. The first line of each file says what it measures.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitCode, runCommand, say, UsedWrongly } from './system/command.ts';
import { projectRoot } from './system/layout.ts';

const folder = join(projectRoot, 'load-tests');
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length));

await runCommand(async () => {
  const words = process.argv.slice(2);
  const [name, ...others] = words.filter((word) => word !== '--json');
  if (name === undefined || !names.includes(name) || others.length > 0) {
    const list = names.map((each) => `  ${each.padEnd(12)} ${firstLineOf(each)}`).join('\n');
    throw new UsedWrongly(`Usage: npm run bench -- NAME [--json]\n${list}`);
  }
  const child = spawn(
    process.execPath,
    [...process.execArgv, join(folder, `${name}.ts`), ...words.filter((word) => word !== name)],
    {
      stdio: 'inherit',
    },
  );
  // Ctrl-C reaches it through the terminal; it stops what it started.
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => signal === 'SIGTERM' && child.kill(signal));
  const code = await new Promise<number>((resolve) =>
    child.on('exit', (status) => resolve(status ?? exitCode.couldNotRun)),
  );
  if (code === exitCode.couldNotRun) say(`${name} could not run`);
  return code as 0 | 1 | 2 | 3;
});

function firstLineOf(name: string): string {
  const [line = ''] = readFileSync(join(folder, `${name}.ts`), 'utf8').split('\n');
  return line.replace(/^\/\/ ?/, '');
}
