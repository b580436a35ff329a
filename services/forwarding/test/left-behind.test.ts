import type { Progress } from '@ballast/contracts';
import { expect, test } from 'vitest';
import { watchProgress } from '../src/delivery/left-behind.ts';

const second = (count: number) => `2026-11-24T20:00:${String(count).padStart(2, '0')}.000000Z`;
const said = (value: string, generation = 2): Progress[] => [
  { source: 's', node: 's', generation, value, by_topic: null },
];

function watching() {
  let clock = 0;
  const replaced = [{ generation: 2, from: second(7) }];
  const watched = watchProgress({ source: 's', generation: 2, replaced, now: () => clock });
  const after = (ms: number) => {
    clock += ms;
  };
  return { watched, after };
}

test('who proves what it is told is never left behind, however long a transaction keeps watermarks back', () => {
  const { watched, after } = watching();
  watched.onReply(said(second(9)));
  for (let times = 0; times < 100; times++) {
    after(1_000);
    watched.onReply(said(second(9)));
    expect(watched.since(second(9))).toBeUndefined();
  }
  // A mark that it has yet to answer is no hole.
  after(1_000);
  expect(watched.since(second(10))).toBeUndefined();
  watched.onReply(said(second(10)));
  after(60_000);
  expect(watched.since(second(10))).toBeUndefined();
});

test('who gets no further for some seconds is left behind; who gets further, by whatever route, is not', () => {
  const { watched, after } = watching();
  for (let at = 10; at < 20; at++) {
    watched.onReply(said(second(at - 8)));
    after(1_000);
    expect(watched.since(second(at))).toBeUndefined();
  }
  watched.onReply(said(second(12)));
  for (let times = 0; times < 5; times++) {
    after(1_000);
    expect(watched.since(second(20 + times))).toBeUndefined();
  }
  after(1_000);
  expect(watched.since(second(25))).toBe(second(12));
});

test('taken back in vain, it is taken back again, later each time', () => {
  const { watched, after } = watching();
  watched.onReply(said(second(1)));
  const waited: number[] = [];
  for (let times = 0, ms = 0; times < 3; ms += 1_000) {
    after(1_000);
    if (watched.since(second(30)) === undefined) continue;
    watched.takenBack();
    waited.push(ms);
    times++;
    ms = 0;
  }
  expect(waited).toEqual([...waited].sort((a, b) => a - b));
  expect(new Set(waited).size).toBe(3);
});

test('what an older generation proves counts as far as both have it; a newer one is not ours to judge', () => {
  const { watched, after } = watching();
  const has = (progress: Progress[]) => {
    watched.onReply(progress);
    watched.since(null);
    after(6_000);
    return watched.since(second(30));
  };
  expect(has(said(second(9), 1))).toBe(second(7));
  expect(has(said(second(5), 1))).toBe(second(5));
  expect(has(said(second(5), 3))).toBeUndefined();
  expect(has([{ ...said(second(5))[0], source: 'other' } as Progress])).toBeUndefined();
  const unknown = watchProgress({ source: 's', generation: 5, replaced: [], now: () => performance.now() });
  unknown.onReply(said(second(9), 4));
  expect(unknown.heard()).toBeUndefined();
});
