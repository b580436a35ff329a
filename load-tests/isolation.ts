// One bank hangs: what another bank's payments notice of it, how much we ask of the ill one, and whether any call outlives its deadline.
import { runIsolation } from './bench/run-isolation.ts';

const holds = await runIsolation((line) => process.stdout.write(`${line}\n`));
process.exit(holds ? 0 : 1);
