// The same as `core`, while forwarding and query carry every order to the merchants' read model.
import { report } from './bench/report.ts';
import { runPayments } from './bench/run-payments.ts';

const say = (line: string) => process.stdout.write(`${line}\n`);
const measured = await runPayments('whole', say);
const holds = report('whole', measured, { ratio: 0.6, ratioAim: 0.8 }, process.argv.includes('--json'), say);
process.exit(holds ? 0 : 1);
