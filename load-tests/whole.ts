// The same as `core`, while forwarding and query carry every order to the merchants' read model.
import { exitCode, runCommand, say } from '../scripts/system/command.ts';
import { report } from './bench/report.ts';
import { runPayments } from './bench/run-payments.ts';

await runCommand(async () => {
  const holds = await runPayments('whole', say, (measured) =>
    report('whole', measured, { ratio: 0.6, ratioAim: 0.8 }, process.argv.includes('--json'), say),
  );
  return holds ? exitCode.done : exitCode.checkFailed;
});
