// An operator's switch under load, on four instances: how soon it moves all of them, and what it survives.
import { runFlips } from './bench/run-flips.ts';

const holds = await runFlips((line) => process.stdout.write(`${line}\n`));
process.exit(holds ? 0 : 1);
