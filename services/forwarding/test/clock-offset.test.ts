import { expect, test } from 'vitest';
import { openClockOffset } from '../src/source/clock-offset.ts';

test('the offset is that of the shortest of the last round trips: a slow one is not believed', () => {
  const clock = openClockOffset();
  expect(clock.heard(1_101, 1_000, 1_002)).toBe(100);
  // The answer lay around for 40 ms.
  expect(clock.heard(2_101, 2_000, 2_042)).toBe(100);
  expect(clock.heard(3_151, 3_000, 3_001)).toBe(150.5);
});

test('a clock that was set is followed within eight round trips, however short the last one before it was', () => {
  const clock = openClockOffset();
  clock.heard(1_100, 1_000, 1_000);
  const offsets = Array.from({ length: 8 }, (_, n) => clock.heard(5_505 + n, 2_000 + n, 2_010 + n));
  expect(offsets.at(-1)).toBe(3_500);
});
