// Payments from the terminal to the answer, bank included, beside pgbench with the same two transactions alone.
import { exitCode, runCommand, say } from '../scripts/system/command.ts';
import { report } from './bench/report.ts';
import { runPayments } from './bench/run-payments.ts';

await runCommand(async () => {
  const holds = await runPayments('core', say, (measured) =>
    report('core', measured, { ratio: 1, ratioAim: 1.5 }, process.argv.includes('--json'), say),
  );
  return holds ? exitCode.done : exitCode.checkFailed;
});
