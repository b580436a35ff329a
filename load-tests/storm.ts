// A retry storm, ten times the usual load for a minute, against a slow bank: whether payments come back by themselves when both are gone.
import { runStorm } from './bench/run-storm.ts';

const holds = await runStorm((line) => process.stdout.write(`${line}\n`));
process.exit(holds ? 0 : 1);
