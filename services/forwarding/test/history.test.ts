import { expect, test } from 'vitest';
import { type Found, judgeClaims, judgeHistory, type Verdict } from '../src/lead/history.ts';
import type { Remembered } from '../src/source/remembered.ts';

const before: Remembered = {
  system: '7',
  timeline: 2,
  generation: 3,
  mark: { watermark: null, event: null },
  reached: 1_000,
  guarded: true,
  xmax: 500,
};
const now: Found = {
  system: '7',
  timeline: 2,
  generation: 3,
  leftAt: undefined,
  end: 1_000,
  nextXid: 500,
  hasMark: true,
};
const promoted: Found = { ...now, timeline: 3, leftAt: 1_000 };

test.each<[string, Partial<Remembered>, Found, string]>([
  ['nothing has changed', {}, now, 'same'],
  ['it has gone on', {}, { ...now, end: 9_000, nextXid: 900 }, 'same'],
  ['its log ends before what was read', {}, { ...now, end: 999 }, 'replaced'],
  ['its transaction ids begin again', {}, { ...now, nextXid: 499 }, 'replaced'],
  ['what was seen of it is not there', {}, { ...now, end: 9_000, hasMark: false }, 'replaced'],
  ['another cluster', {}, { ...now, system: '8' }, 'foreign'],
  ['another cluster, declared', {}, { ...now, system: '8', generation: 4 }, 'declared'],
  ['restored from before a raise', {}, { ...now, generation: 2 }, 'foreign'],
  ['raised by somebody else', {}, { ...now, generation: 4, hasMark: false }, 'declared'],
  ['promoted with all of it', {}, promoted, 'same'],
  ['promoted with all that is known, but nobody vouched for the rest', { guarded: false }, promoted, 'replaced'],
  ['promoted without the last of it', {}, { ...promoted, leftAt: 999, end: 9_000 }, 'replaced'],
  ['promoted from a branch that was never followed', {}, { ...promoted, leftAt: undefined }, 'foreign'],
  ['an old primary that came back', {}, { ...now, timeline: 1, hasMark: false }, 'stale'],
  ['an old timeline, declared by a person', {}, { ...now, timeline: 1, generation: 4 }, 'declared'],
])('%s', (_, remembered, found, kind) => {
  expect(judgeHistory({ ...before, ...remembered }, found).kind).toBe(kind);
});

test('where nothing is stored of it, what this process has seen says whether it is the same', () => {
  expect(judgeHistory(null, now).kind).toBe('same');
  expect(judgeHistory(null, { ...now, hasMark: false }).kind).toBe('replaced');
});

const same: Verdict = { kind: 'same' };
const declared: Verdict = { kind: 'declared', foreign: false };
const stale: Verdict = { kind: 'stale', why: 'an old primary' };
const claim = (generation: number, seconds: number) => ({ generation, value: `2026-11-24T20:00:0${seconds}.000000Z` });

test('a source that has no watermark of ours any more may have pruned them: only the generation speaks', () => {
  const kindOf = (mark: ReturnType<typeof claim>) => judgeClaims(same, [mark], { generation: 3, watermark: null }).kind;
  expect([kindOf(claim(3, 9)), kindOf(claim(4, 1))]).toEqual(['same', 'foreign']);
});

test.each<[string, Verdict, ReturnType<typeof claim>[], string]>([
  ['nobody says anything', same, [], 'same'],
  ['they have what it has, or less', same, [claim(3, 5), claim(3, 1)], 'same'],
  ['one has more', same, [claim(3, 1), claim(3, 6)], 'replaced'],
  ['one has more of an older generation, whose end was lost', same, [claim(2, 9), claim(3, 5)], 'same'],
  ['one has a newer generation', same, [claim(4, 1)], 'foreign'],
  ['raised by somebody else, and they have less', declared, [claim(2, 9)], 'declared'],
  ['raised to a generation that they have of a lost history', declared, [claim(3, 6)], 'foreign'],
  ['raised, and still older than what they have', declared, [claim(4, 1)], 'foreign'],
  ['a person decides', stale, [claim(4, 9)], 'stale'],
])('told by subscribers: %s', (_, verdict, marks, kind) => {
  expect(judgeClaims(verdict, marks, { generation: 3, watermark: claim(3, 5).value }).kind).toBe(kind);
});
