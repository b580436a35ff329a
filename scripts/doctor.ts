// `npm run doctor`: looks at everything that can be wrong here and says what to do about what is.
import { exitCode, readOptions, runCommand, say } from './system/command.ts';
import { examine } from './system/examine.ts';
import type { Finding } from './system/finding.ts';

const usage = 'Usage: npm run doctor -- [--data DIR]';
const marks: Readonly<Record<Finding['verdict'], string>> = { good: '✓', odd: '!', bad: '✗' };

await runCommand(async () => {
  const { dataDir } = readOptions({}, usage);
  let bad = 0;
  let odd = 0;
  for await (const { verdict, what, seen, advice } of examine(dataDir)) {
    say(`${marks[verdict]} ${what.padEnd(26)} ${seen}`);
    if (advice !== undefined) say(`  ${''.padEnd(26)} → ${advice}`);
    if (verdict === 'bad') bad++;
    if (verdict === 'odd') odd++;
  }
  say(bad + odd === 0 ? '\nAll is well.' : `\n${bad} wrong, ${odd} odd.`);
  return bad === 0 ? exitCode.done : exitCode.checkFailed;
});
