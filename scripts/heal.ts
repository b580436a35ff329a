// `npm run heal -- BANK`: a simulated bank behaves again; without a name, all of them.
import { adminCall } from './system/admin-call.ts';
import { exitCode, readOptions, runCommand, say, UsedWrongly } from './system/command.ts';
import { readRunFile, serviceOf } from './system/run-file.ts';

const usage = 'Usage: npm run heal -- [BANK] [--data DIR]';

await runCommand(async () => {
  const { dataDir, words } = readOptions({}, usage);
  const run = readRunFile(dataDir);
  const banks = Object.keys(run.banks);
  const [bank] = words;
  if (bank !== undefined && !banks.includes(bank))
    throw new UsedWrongly(`There is no bank "${bank}": ${banks.join(', ')}.\n${usage}`);
  for (const name of bank === undefined ? banks : [bank]) {
    await adminCall('DELETE', `${serviceOf(run, 'bank-simulator').admin_url}/banks/${name}/behaviour`);
    say(`${name} is healthy.`);
  }
  return exitCode.done;
});
