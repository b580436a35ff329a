import { expect, test } from 'vitest';
import { uuidv7 } from '../src/index.ts';

const msOf = (id: string) => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
const START = Date.UTC(2026, 10, 24);

test('ids increase, also many in one millisecond and when the clock steps back a little', () => {
  const times = Array.from({ length: 20_000 }, (_, i) => START + Math.floor(i / 10_000) - (i % 7));
  const ids = times.map(uuidv7);
  expect(ids).toEqual([...ids].sort());
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('after a clock that ran an hour ahead was set right, ids are of the right time again', () => {
  uuidv7(START + 3_600_000);
  expect(Math.abs(msOf(uuidv7(START + 10_000)) - (START + 10_000))).toBeLessThan(1_000);
});
