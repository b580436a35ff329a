import { MOST_REPLACED } from '@ballast/contracts';
import { expect, test } from 'vitest';
import { replacedBy } from '../src/journal/generations.ts';
import { SEES_NOTHING } from '../src/source/pg-snapshot.ts';

const day = (count: number) => `2026-01-01T00:00:00.${String(count).padStart(6, '0')}Z`;
const raise = (generation: number, from: string) => ({ generation, since: SEES_NOTHING, from });

test('watermarks name each lost history; the oldest beyond their number together, by the earliest time', () => {
  expect(replacedBy([])).toEqual([]);
  expect(replacedBy([raise(3, day(5)), raise(2, day(4))])).toEqual([
    { generation: 3, from: day(5) },
    { generation: 2, from: day(4) },
  ]);
  const many = Array.from({ length: MOST_REPLACED + 5 }, (_, index) => raise(100 - index, day(100 - index)));
  const said = replacedBy(many);
  expect(said).toHaveLength(MOST_REPLACED);
  expect(said.at(-1)).toEqual({ generation: 100 - MOST_REPLACED + 1, from: day(100 - MOST_REPLACED - 4) });
  expect(said[0]).toEqual({ generation: 100, from: day(100) });
});
