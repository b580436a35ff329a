// `npm test`: everything a change must pass. The gate, and the programs that its tests ask are fetched while it lints.
import { fetchTools } from './gate/fetch-tools.ts';
import { runGate } from './gate/run-gate.ts';

process.exit(await runGate(fetchTools()));
