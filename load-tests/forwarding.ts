// Forwarding to a real Kafka: commit to acknowledgement, catching up, what payments feel of it, Kafka killed and frozen.
import { runForwarding } from './bench/run-forwarding.ts';

const holds = await runForwarding((line) => process.stdout.write(`${line}\n`));
process.exit(holds ? 0 : 1);
