// What can be known to be wrong before anything is started, each with its own sentence.
import { statfs } from 'node:fs/promises';
import { CannotRun } from './cannot-run.ts';

/** Two empty clusters with their first WAL take 120 MB, their WAL limits 4 GB; below this a demo would soon stand still. */
const LEAST_FREE_BYTES = 1_000_000_000;

export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

export async function refuseFullDisk(folder: string): Promise<void> {
  const free = await freeBytes(folder);
  if (free < LEAST_FREE_BYTES)
    throw new CannotRun(
      `The disk is nearly full: ${Math.floor(free / 1_000_000)} MB free where ${folder} lies, ` +
        `${LEAST_FREE_BYTES / 1_000_000} MB are needed. Free some space, or choose another place with --data DIR.`,
    );
}
