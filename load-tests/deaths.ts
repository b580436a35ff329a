// A seeded run of kill -9 over forwarding, broker, both PostgreSQL servers and query, under payments: nothing lost, reordered or doubled.
import { runDeaths } from './bench/run-deaths.ts';

const holds = await runDeaths((line) => process.stdout.write(`${line}\n`));
process.exit(holds ? 0 : 1);
