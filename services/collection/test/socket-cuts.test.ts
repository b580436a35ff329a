// The connection to the bank cut at a byte of the request or of its answer. Every 13th byte here, every byte in
// `npm run sweep`.
import { expect, test } from 'vitest';
import { runSocketCuts } from './support/socket-cuts.ts';

test('a cut anywhere charges nobody twice and contradicts nothing that was told', async () => {
  const tally = await runSocketCuts(13);
  expect(tally.wrong).toEqual([]);
  expect(tally.cuts).toBeGreaterThan(40);
  expect(Object.keys(tally.told)).toContain('in_doubt');
  expect(Object.keys(tally.ended).sort()).toEqual(['approved', 'not_completed']);
}, 120_000);
