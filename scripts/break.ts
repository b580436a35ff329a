// `npm run break -- BANK [BEHAVIOUR]`: makes a simulated bank ill, through its switchboard.
import { behaviours } from '../services/bank-simulator/src/behaviour.ts';
import { adminCall } from './system/admin-call.ts';
import { exitCode, readOptions, runCommand, say, UsedWrongly } from './system/command.ts';
import { readRunFile, serviceOf } from './system/run-file.ts';

const usage = `Usage: npm run break -- BANK [BEHAVIOUR] [--share 0.3] [--times N] [--operation charge|inquiry|reversal|refund]
Behaviours: down (default), slow, ${behaviours.join(', ')}`;
const SLOW_MS = 3_000;

await runCommand(async () => {
  const { dataDir, values, words } = readOptions(
    { share: { type: 'string' }, times: { type: 'string' }, operation: { type: 'string' } },
    usage,
  );
  const [bank, behaviour = 'down'] = words;
  const run = readRunFile(dataDir);
  const banks = Object.keys(run.banks);
  if (bank === undefined || !banks.includes(bank)) throw new UsedWrongly(`Name a bank: ${banks.join(', ')}.\n${usage}`);
  const script = scriptOf(behaviour, values);
  await adminCall('PUT', `${serviceOf(run, 'bank-simulator').admin_url}/banks/${bank}/behaviour`, { body: script });
  say(`${bank} is ill now: ${behaviour}. Watch: npm run status -- --watch. Heal: npm run heal -- ${bank}`);
  return exitCode.done;
});

function scriptOf(behaviour: string, values: { share?: string; times?: string; operation?: string }) {
  if (behaviour === 'down') return { down: true };
  if (behaviour === 'slow') return { extra_latency_ms: SLOW_MS };
  if (!(behaviours as readonly string[]).includes(behaviour))
    throw new UsedWrongly(`There is no behaviour "${behaviour}".\n${usage}`);
  const { share, times, operation } = values;
  return {
    rules: [
      {
        behaviour,
        ...(share === undefined ? {} : { probability: Number(share) }),
        ...(times === undefined ? {} : { times: Number(times) }),
        ...(operation === undefined ? {} : { operation }),
      },
    ],
  };
}
