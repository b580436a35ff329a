// Ports for our listeners. Below 32768: above it the kernel takes ports for outgoing connections, and a service that is
// killed and comes back would sometimes find its own port in a client's hands.
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { CannotRun } from './cannot-run.ts';

const LOWEST = 12_000;
const HIGHEST = 32_000;
const TRIES = 200;

/** True: somebody could listen there now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.on('error', () => resolve(false));
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/** A free port that is not among those `taken` already by our own choice. */
export async function pickPort(taken: ReadonlySet<number>): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const port = randomInt(LOWEST, HIGHEST);
    if (!taken.has(port) && (await isFree(port))) return port;
  }
  throw new CannotRun(`No free port found between ${LOWEST} and ${HIGHEST} on 127.0.0.1.`);
}
