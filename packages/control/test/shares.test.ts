// The arithmetic of a shared quota, asked of the database itself: whatever the order in which processes renew, come, and
// die, what they may use never adds up to more than the whole.
import { randomUUID } from 'node:crypto';
import { waitFor } from '@ballast/database/testing';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshControl } from './support/control.ts';

let control: Awaited<ReturnType<typeof freshControl>>;
let sql: pg.Client;

beforeAll(async () => {
  control = await freshControl('shares');
  sql = new pg.Client(control.url);
  await sql.connect();
});
afterAll(async () => {
  await sql.end();
  await control.store.close();
  await control.drop();
});

async function renew(target: string, run: string, inUse: number, lease = '1 minute'): Promise<number> {
  const { rows } = await sql.query('select lease_quota($1, $2, 1, $3, $4) as share', [target, run, inUse, lease]);
  return rows[0].share;
}

test('a newcomer is given nothing of what another still uses, and its half when that one has let go', async () => {
  const [one, two] = [randomUUID(), randomUUID()];
  expect(await renew('a', one, 0)).toBe(1);
  expect(await renew('a', two, 0)).toBe(0);
  expect(await renew('a', one, 1)).toBe(0.5);
  expect(await renew('a', two, 0)).toBe(0); // the first has not heard of its half yet, and may be using all
  expect(await renew('a', one, 0.5)).toBe(0.5);
  expect(await renew('a', two, 0)).toBe(0.5);
});

test('the share of a dead process returns when its lease has ended', async () => {
  const [one, two] = [randomUUID(), randomUUID()];
  expect(await renew('b', one, 0, '200 ms')).toBe(1);
  expect(await renew('b', two, 0)).toBe(0);
  await waitFor('the lease ends', async () => (await renew('b', two, 0)) === 1, 2_000);
});

test('in any order of renewals, answers heard late, and arrivals, the sum in use never exceeds the whole', async () => {
  const seed = 20_261_124;
  const random = mulberry(seed);
  const runs = Array.from({ length: 5 }, () => ({ id: randomUUID(), inUse: 0, heardLate: null as number | null }));
  for (let step = 0; step < 600; step++) {
    const run = runs[Math.floor(random() * Math.min(5, 1 + step / 50))];
    if (run === undefined) continue;
    if (run.heardLate !== null) {
      run.inUse = run.heardLate;
      run.heardLate = null;
    } else {
      const granted = await renew('c', run.id, run.inUse);
      if (random() < 0.5) run.inUse = granted;
      else run.heardLate = granted;
    }
    const sum = runs.reduce((total, { inUse }) => total + inUse, 0);
    expect(sum, `seed ${seed}, step ${step}`).toBeLessThanOrEqual(1 + 1e-9);
  }
  for (const run of [...runs, ...runs, ...runs]) run.inUse = await renew('c', run.id, run.inUse);
  for (const run of runs) expect(run.inUse).toBeCloseTo(0.2, 9);
});

/** A small seeded generator, so that a failure can be seen again. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
