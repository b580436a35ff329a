// One bank hangs: what another bank's payments notice of it, how much we ask of the ill one, and whether any call outlives its deadline.
import { tell } from './bench/findings.ts';
import { runIsolation } from './bench/run-isolation.ts';

const say = (line: string) => process.stdout.write(`${line}\n`);
const { findings, checked } = await runIsolation(say);
process.exit(tell('isolation', findings, checked, say) ? 0 : 1);
