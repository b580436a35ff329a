import { BEFORE_EVERYTHING } from '@ballast/contracts';
import { expect, test } from 'vitest';
import { type Acknowledged, beginsAt, linkWatermarks } from '../src/delivery/run.ts';
import { parseSnapshot, SEES_NOTHING } from '../src/source/pg-snapshot.ts';

const second = (count: number) => `2026-11-24T20:00:0${count}.000000Z`;
const beginning = { source: 's', node: 's', generation: 1, value: second(1), replaced: [] };
const row = (value: string, generation = 1) =>
  ({ kind: 'watermark', source: 's', node: 's', generation, value }) as const;
const nobodyKnows = () => null;

function link(
  rows: readonly ReturnType<typeof row>[],
  acknowledged: Acknowledged,
  since: (value: string) => string | null,
) {
  const { messages, acknowledged: then } = linkWatermarks(rows, acknowledged, beginning, since);
  const marks = messages.flatMap((it) => (it.kind === 'watermark' ? [it] : []));
  return {
    links: marks.map(({ value, after, since: at }) => [value, after, at]),
    runs: marks.map(({ run }) => run),
    then,
  };
}

test('a run begins with a watermark of its own, and each that follows names the one before it', () => {
  const { links, runs, then } = link(
    [row(second(2)), row(second(3))],
    { run: 'r', value: null, generation: undefined },
    (it) => (it === second(2) ? second(5) : null),
  );
  expect(links).toEqual([
    [second(1), null, null],
    [second(2), second(1), null],
    [second(3), second(2), second(5)],
  ]);
  expect(runs).toEqual(['r', 'r', 'r']);
  expect(then).toMatchObject({ run: 'r', value: second(3), generation: 1 });
});

test('what says no more than the last watermark is left out, but for another generation, whose clock may be behind', () => {
  const acknowledged: Acknowledged = { run: 'r', value: second(4), generation: 1 };
  expect(link([row(second(4)), row(second(3)), row(second(5))], acknowledged, nobodyKnows).links).toEqual([
    [second(5), second(4), null],
  ]);
  expect(link([row(second(2), 2)], acknowledged, nobodyKnows).links).toEqual([[second(2), second(4), null]]);
});

test('after a restart it is not known of which generation the last one was: it is sent again, not passed over', () => {
  const acknowledged: Acknowledged = { run: 'r', value: second(4), generation: undefined };
  expect(link([row(second(4))], acknowledged, nobodyKnows).links).toEqual([[second(4), second(4), null]]);
});

test('a run that has everything begins before everything; any other after all that its snapshot sees was decided', () => {
  expect(beginsAt({ snapshot: SEES_NOTHING, at: Date.now() })).toBe(BEFORE_EVERYTHING);
  const snapshot = parseSnapshot('7:9:');
  const at = Date.parse('2026-11-24T20:00:00.123Z');
  for (const exact of [at, at + 0.001, at + 0.999])
    expect(beginsAt({ snapshot, at: exact })).toBe('2026-11-24T20:00:00.124000Z');
});
