// One clock: the database's, measured on a connection, carried on by the monotonic clock between measurements. Ids,
// signature windows and business dates use it, so that a machine with a wrong clock cannot misdate money.
import { randomFillSync } from 'node:crypto';
import type { Knex } from 'knex';

export interface DatabaseClock {
  /** Database time, ms since the epoch. */
  now(): number;
  /**
   * For how many ms database time has run evenly, as far as this process has seen; Infinity: it never saw it jump. 0 when
   * `reading`, which was taken just now, is not where the clock was expected.
   */
  steadyMs(reading: number): number;
  close(): void;
}

const MEASURE_EVERY_MS = 10_000;
const SAMPLES = 5;
/** Round trips and a busy process make a reading wrong by some ms; a clock that is set jumps by seconds. */
const JUMP_MS = 1_000;

/** Resolves when measured once. A later measurement that fails leaves the offset as it was. */
export async function startDatabaseClock(knex: Knex): Promise<DatabaseClock> {
  let offset = await measure(knex);
  let jumpedAt = Number.NEGATIVE_INFINITY;
  const timer = setInterval(() => {
    void measure(knex).then(
      (measured) => {
        if (Math.abs(measured - offset) > JUMP_MS) jumpedAt = performance.now();
        offset = measured;
      },
      () => undefined, // the database is away: the monotonic clock carries the last offset on
    );
  }, MEASURE_EVERY_MS);
  timer.unref();
  return {
    now: () => Math.floor(performance.now() + offset),
    steadyMs: (reading) => {
      const at = performance.now();
      return Math.abs(reading - at - offset) > JUMP_MS ? 0 : at - jumpedAt;
    },
    close: () => clearInterval(timer),
  };
}

/** Database time minus monotonic time, from the quickest of a few round trips. */
async function measure(knex: Knex): Promise<number> {
  let best = { roundTrip: Number.POSITIVE_INFINITY, offset: 0 };
  for (let i = 0; i < SAMPLES; i++) {
    const before = performance.now();
    const { rows } = await knex.raw('select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms');
    const roundTrip = performance.now() - before;
    if (roundTrip < best.roundTrip) best = { roundTrip, offset: rows[0].ms - before - roundTrip / 2 };
  }
  return best.offset;
}

const RANDOM_POOL = Buffer.alloc(10 * 256);
let randomUsed = RANDOM_POOL.length;
let lastMs = 0;
let sequence = 0;

/** Beyond it the earlier time was wrong, not the later one: going on from it would make ids that the database refuses. */
const LARGEST_STEP_BACK_MS = 1_000;

/**
 * A UUIDv7 (RFC 9562, method 1: a 12-bit counter after the milliseconds), increasing within this process also when the
 * clock steps back a little: ids order the batches and choose the partition. After a larger step back it starts anew there.
 */
export function uuidv7(nowMs: number): string {
  if (nowMs > lastMs || nowMs < lastMs - LARGEST_STEP_BACK_MS) {
    lastMs = nowMs;
    sequence = randomBytes(2).readUInt16BE() & 0x7ff; // half the range is left for this millisecond
  } else if (++sequence > 0xfff) {
    lastMs++;
    sequence = 0;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const tail = randomBytes(8);
  tail.writeUInt8((tail.readUInt8(0) & 0x3f) | 0x80, 0);
  const hex = tail.toString('hex');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${sequence.toString(16).padStart(3, '0')}-${hex.slice(0, 4)}-${hex.slice(4)}`;
}

/** A copy from a pool that is refilled in one go: one system call for hundreds of ids. */
function randomBytes(count: number): Buffer {
  if (randomUsed + count > RANDOM_POOL.length) {
    randomFillSync(RANDOM_POOL);
    randomUsed = 0;
  }
  randomUsed += count;
  return Buffer.from(RANDOM_POOL.subarray(randomUsed - count, randomUsed));
}
