// How many connections a face takes. A peer that opens one and says nothing holds a descriptor, for a minute or more; without
// a limit, enough of them leave none for the banks, the database and the other face.
import { readFileSync } from 'node:fs';
import type { Server } from 'node:net';
import type { Logger } from '@ballast/telemetry';

/** Public: a terminal keeps one, or its proxy a few hundred. Internal: scrapers, deliveries, and people. */
const MOST_CONNECTIONS = { public: 10_000, internal: 200 } as const;
/** Of the descriptors that the process may open; the other half is for everything that is not this face. */
const PART_OF_DESCRIPTORS = 1 / 2;
const SAY_EVERY_MS = 60_000;

export type Face = keyof typeof MOST_CONNECTIONS;

/** Beyond the limit a connection is closed as soon as it is accepted. Says so, and says at start when it has to be lower. */
export function limitConnections(server: Server, face: Face, logger: Logger, descriptors = openFilesLimit()): void {
  const most = Math.min(MOST_CONNECTIONS[face], Math.floor(descriptors * PART_OF_DESCRIPTORS));
  if (most < MOST_CONNECTIONS[face])
    logger.warn({ face, most, descriptors }, 'few connections are taken: the limit of open files is low');
  server.maxConnections = most;
  let closed = 0;
  let saidAt = Number.NEGATIVE_INFINITY;
  server.on('drop', () => {
    closed++;
    if (performance.now() - saidAt < SAY_EVERY_MS) return;
    logger.warn({ face, most, closed }, 'too many connections: the latest were closed at once');
    saidAt = performance.now();
    closed = 0;
  });
}

/**
 * Infinity where the system does not say (it does on Linux). Node has raised the soft limit to the hard one at its start. Not by
 * `process.report`: that looks up the names of all peers, and waits for the name server.
 */
function openFilesLimit(): number {
  try {
    const limit = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return limit === null ? Number.POSITIVE_INFINITY : Number(limit[1]);
  } catch {
    return Number.POSITIVE_INFINITY; // no /proc
  }
}
