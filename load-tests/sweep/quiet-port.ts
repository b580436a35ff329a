// A port that stays ours while the process behind it is dead: below the range from which the system gives ports to
// outgoing connections, so that none of the many here takes it meanwhile.
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

const LOWEST = 10_240;
/** Linux gives out 32768 and above, others 49152 and above. */
const HIGHEST = 32_000;
const TRIES = 50;

export async function quietPort(): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const port = randomInt(LOWEST, HIGHEST);
    if (await isFree(port)) return port;
  }
  throw new Error(`none of ${TRIES} ports between ${LOWEST} and ${HIGHEST} is free`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
