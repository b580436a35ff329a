import { expect, test } from 'vitest';
import { journalColumns, rfc3339 } from '../src/journal/journal-row.ts';
import type { LogReader } from '../src/source/log-reader.ts';
import { formatLsn, parseLsn } from '../src/source/lsn.ts';
import { fillTail } from '../src/tail/fill-tail.ts';
import { openTail, type TailEntry } from '../src/tail/tail.ts';

const message = { kind: 'watermark', source: 's', generation: 1, node: 'n', value: 'v' } as const;

function entry(lsn: number, index: number, xid: number): TailEntry {
  return { lsn, index, xid, committedAt: 0, receivedAt: 0, bytes: 100, message };
}

function tailOf(maxEntries: number) {
  return openTail({ maxBytes: 1_000_000, maxEntries, start: 10, barrierXid: 5 });
}

test('a feed that reads holds its entries: the tail becomes full, and has room when the feed goes on', () => {
  const tail = tailOf(2_000);
  const feed = { cursor: tail.begin() };
  tail.cursors.add(feed);
  for (let at = 1; at <= 2_001; at++) tail.push(entry(at, 0, at));
  expect([tail.isFull(), tail.waiting()]).toEqual([true, 2_001]);
  let room = 0;
  tail.onRoom(() => room++);
  feed.cursor += 1_500;
  tail.released();
  expect([tail.isFull(), room]).toEqual([false, 1]);
  expect(tail.take(feed.cursor, 1, 0)).toMatchObject([{ lsn: 1_501 }]);
});

test('without a feed that reads, it never becomes full', () => {
  const tail = tailOf(2_000);
  for (let at = 1; at <= 10_000; at++) tail.push(entry(at, 0, at));
  expect(tail.isFull()).toBe(false);
  expect(tail.pending(tail.begin())).toBeLessThanOrEqual(2_000);
});

test('a place is where the first transaction stands that the snapshot does not know to be finished', () => {
  const tail = tailOf(2_000);
  for (const [lsn, xid] of [
    [20, 7],
    [21, 6],
    [22, 9],
    [23, 8],
  ] as const)
    tail.push(entry(lsn, 0, xid));
  const place = tail.hold(8);
  expect(tail.take(place?.cursor ?? -1, 1, 0)).toMatchObject([{ lsn: 22 }]);
  expect(tail.positionBefore(place?.cursor ?? -1)).toMatchObject({ lsn: 21 });
});

test('there is no place when the snapshot is older than what was there before the log was read', () => {
  const tail = tailOf(2_000);
  expect(tail.hold(5)).toBeUndefined();
  expect(tail.hold(6)).toMatchObject({ lost: false });
});

test('a feed comes back to a backlog only within what is read ahead of it: farther behind it would be cut loose again', () => {
  const tail = tailOf(20_000);
  const place = tail.hold(10);
  for (let at = 1; at <= 2_001; at++) tail.push({ ...entry(at, 0, at + 10), committedAt: 1_000_000 });
  if (place === undefined) throw new Error('there is no place');
  expect(tail.isNear(place, 1_001_000)).toBe(true);
  expect(tail.isNear(place, 1_003_000)).toBe(false);
  expect(tail.isNear({ ...place, cursor: place.cursor + 1 }, 1_003_000)).toBe(true);
  for (let at = 2_002; at <= 10_001; at++) tail.push({ ...entry(at, 0, at + 10), committedAt: 1_000_000 });
  expect(tail.isNear(place, 1_001_000)).toBe(false);
  expect(tail.isNear({ ...place, lost: true }, 1_001_000)).toBe(false);
});

test('what waited before a feed came has not waited for it', () => {
  const tail = tailOf(2_000);
  expect(tail.waitingMs(tail.begin(), 0)).toBe(0);
  const long = performance.now() - 60_000;
  tail.push({ ...entry(1, 0, 11), receivedAt: long });
  expect(tail.waitingMs(tail.begin(), performance.now())).toBeLessThan(30_000);
  expect(tail.waitingMs(tail.begin(), long)).toBeGreaterThanOrEqual(60_000);
});

test('a place is lost when room is needed, and the reader never waits for it', () => {
  const tail = tailOf(2_000);
  const place = tail.hold(6);
  for (let at = 1; at <= 2_500; at++) tail.push(entry(at, 0, at + 5));
  expect(place?.lost).toBe(true);
  expect(tail.isFull()).toBe(false);
});

test('what nobody needs is passed over, and a place moves along behind it', () => {
  const tail = tailOf(2_000);
  tail.push(entry(11, 0, 6));
  expect(tail.passOver({ lsn: 12, index: 0 }, 7)).toBe(true);
  const place = tail.hold(9);
  expect(tail.passOver({ lsn: 13, index: 0 }, 8)).toBe(true);
  tail.push(entry(14, 0, 8)); // of no interest to the place, and kept all the same
  expect(tail.passOver({ lsn: 15, index: 0 }, 9)).toBe(false);
  tail.push(entry(15, 0, 9));
  expect(tail.passOver({ lsn: 16, index: 0 }, 8)).toBe(false);
  expect(tail.take(place?.cursor ?? -1, 1, 0)).toMatchObject([{ lsn: 15 }]);
  expect(tail.hold(8)).toBeUndefined();
});

test('a feed that reads needs everything', () => {
  const tail = tailOf(2_000);
  tail.cursors.add({ cursor: tail.begin() });
  expect(tail.passOver({ lsn: 12, index: 0 }, 7)).toBe(false);
});

test('the frontier is where the first entry stands that was not taken, or how far the log was read', () => {
  const tail = tailOf(2_000);
  tail.push(entry(20, 0, 7));
  tail.push(entry(20, 1, 7));
  tail.progress(30);
  expect([tail.frontier(0), tail.frontier(1), tail.frontier(2)]).toEqual([20, 20, 30]);
});

test('of a backlog two deliveries are read ahead, and more when they are taken; what is new is read as it comes', () => {
  const tail = tailOf(20_000);
  const feed = { cursor: tail.begin() };
  tail.cursors.add(feed);
  const said: string[] = [];
  const reader = { begin: () => {}, pause: () => said.push('pause'), resume: () => said.push('resume') };
  const intake = fillTail('collection', () => {});
  const begin = { generation: 1, generationOf: (written: number) => written, barrierXid: 1, now: () => 10_000 };
  intake.begin({ ...begin, tail, reader: reader as unknown as LogReader });
  const relation = { name: 'order_event', columns: journalColumns, bytesAt: -1 };
  const come = (committedAt: number, events: number) => {
    intake.onMessage({ kind: 'begin', lsn: 20, committedAt, xid: 7 });
    for (let left = events; left > 0; left--) intake.onMessage({ kind: 'insert', relation, row: Buffer.alloc(0) });
  };
  come(0, 2_000);
  expect([said, intake.waits()]).toEqual([[], false]);
  come(0, 1);
  expect([said, intake.waits()]).toEqual([['pause'], true]);
  feed.cursor += 1_000;
  tail.released();
  expect([said, intake.waits()]).toEqual([['pause', 'resume'], false]);
  come(9_000, 1_200);
  expect(said).toEqual(['pause', 'resume']);
});

test.each(['0/0', '0/16B3748', '16/B374D848', 'FFFFF/FFFFFFFF'])('log position %s', (text) => {
  expect(formatLsn(parseLsn(text))).toBe(text);
});

test.each([
  ['2026-11-24 20:40:00+00', '2026-11-24T20:40:00.000000Z'],
  ['2026-11-24 20:40:00.1+00', '2026-11-24T20:40:00.100000Z'],
  ['2026-11-24 20:40:00.123456+00', '2026-11-24T20:40:00.123456Z'],
])('time %s', (text, expected) => {
  expect(rfc3339(text)).toBe(expected);
});
