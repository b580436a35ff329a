// Two of our own verbs on one order at the same moment: exactly one effect. A few rounds here, a thousand of each in
// `npm run sweep`.
import { expect, test } from 'vitest';
import { races, runRace } from './support/races.ts';

const ROUNDS = 40;

test.each(Object.keys(races) as (keyof typeof races)[])(
  '%s: exactly one effect, every time',
  async (name) => {
    const tally = await runRace(name, ROUNDS);
    expect(tally.wrong).toEqual([]);
    expect(tally.rounds).toBe(ROUNDS);
  },
  120_000,
);
