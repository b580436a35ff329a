// Database time over a restart, with nobody to ask: by the machine's uptime, whatever the wall clock was set to meanwhile.
import { expect, test } from 'vitest';
import { createDatabaseTime } from '../src/database-time.ts';

const HOUR_MS = 3_600_000;
const near = (a: number, b: number) => Math.abs(a - b) < 100;
const mark = createDatabaseTime().mark();

test.each([
  ['an hour ahead', -HOUR_MS],
  ['an hour back', HOUR_MS],
  ['right', 0],
])('a wall clock that is set %s since changes nothing on the same boot', (_name, by) => {
  const time = createDatabaseTime();
  time.resume({ ...mark, database_ms: 1_000_000, wall_ms: mark.wall_ms + by, uptime_s: mark.uptime_s - 5 });
  expect(near(time.now(), 1_005_000)).toBe(true);
});

test('after a reboot the wall clock counts, and never backwards', () => {
  const rebooted = { ...mark, database_ms: 1_000_000, boot_id: 'another boot' };
  const later = createDatabaseTime();
  later.resume({ ...rebooted, wall_ms: Date.now() - 7_000 });
  expect(near(later.now(), 1_007_000)).toBe(true);
  const back = createDatabaseTime();
  back.resume({ ...rebooted, wall_ms: Date.now() + HOUR_MS });
  expect(near(back.now(), 1_000_000)).toBe(true);
});

test('the database’s own word replaces it, unless it took too long to come', () => {
  const time = createDatabaseTime();
  const now = performance.now();
  time.measured(now - 10, now, 2_000_000);
  expect(near(time.now(), 2_000_005)).toBe(true);
  time.measured(now - 2_000, now, 9_000_000);
  expect(near(time.now(), 2_000_005)).toBe(true);
  time.resume({ ...mark, database_ms: 5 });
  expect(near(time.now(), 2_000_005)).toBe(true);
});
