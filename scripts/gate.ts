// The one gate, the same locally and in CI.
import { runGate } from './gate/run-gate.ts';

process.exit(await runGate(Promise.resolve([])));
