import { expect, test } from 'vitest';
import { type Found, judgeHistory, type Remembered } from '../src/source/history.ts';

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
