// The read-back of the topic finds what it is there to find.
import { ordersTopic, partitionOf } from '@ballast/events/kafka';
import { expect, test } from 'vitest';
import { type Journalled, openTopicFold } from '../bench/topic-fold.ts';

const order = '01941f29-7c00-7000-8000-00000000000a';
const other = '01941f29-7c00-7000-8000-00000000000b';

function read(versions: readonly number[], journal: readonly Journalled[], partition?: number) {
  const fold = openTopicFold();
  const at = partition ?? partitionOf(order, ordersTopic.partitions);
  for (const [index, version] of versions.entries())
    fold.take({ partition: at, key: order, version, occurredAt: 0, publishedAt: index });
  return fold.compare(journal);
}

test('repeats are counted, with their times, and are no fault', () => {
  const { events, repeats, faults } = read([1, 2, 1, 2, 3], [[order, 3]]);
  expect({ events, repeats, faults }).toEqual({ events: 3, repeats: [2, 3], faults: [] });
});

test('a watermark belongs to no order', () => {
  const fold = openTopicFold();
  fold.take({ partition: 0, key: null, version: Number.NaN, occurredAt: 0, publishedAt: 0 });
  expect(fold.compare([])).toMatchObject({ records: 1, watermarks: 1, events: 0, faults: [] });
});

test.each([
  ['a version before its predecessor', read([1, 3, 2], [[order, 3]]), /version 3 stands after 1/],
  ['a first event that is not the first', read([2], [[order, 2]]), /version 2 stands after 0/],
  ['an order cut short', read([1], [[order, 2]]), /has 1 of 2 versions/],
  [
    'an order that is missing',
    read(
      [1],
      [
        [order, 1],
        [other, 1],
      ],
    ),
    /has nothing of 1 versions/,
  ],
  ['an order that no journal has', read([1], []), /in no journal/],
  ['the wrong partition', read([1], [[order, 1]], ordersTopic.partitions), /is in partition/],
])('%s is a fault', (_name, { faults }, text) => {
  expect(faults.join('\n')).toMatch(text);
});
