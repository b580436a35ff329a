// Payments from the terminal to the answer, bank included, beside pgbench with the same two transactions alone.
import { report } from './bench/report.ts';
import { runPayments } from './bench/run-payments.ts';

const say = (line: string) => process.stdout.write(`${line}\n`);
const measured = await runPayments('core', say);
const holds = report('core', measured, { ratio: 1, ratioAim: 1.5 }, process.argv.includes('--json'), say);
process.exit(holds ? 0 : 1);
