import { expect, test } from 'vitest';
import { readPlace, whatIsLost } from '../src/kafka/topic-place.ts';

/** A topic that is made again, empty, right after each of so many reads of its offsets. */
function topicMadeAgain(times: number) {
  let id = 1;
  let ends = [7, 9];
  const offsets = async () => {
    const read = ends;
    if (times-- > 0) {
      id++;
      ends = [0, 0];
    }
    return read;
  };
  return { id: async () => `topic ${id}`, offsets };
}

test('a topic that is made again while it is read has the offsets of its own', async () => {
  const { id, offsets } = topicMadeAgain(1);
  const place = await readPlace(id, offsets);
  expect(place).toEqual({ topic_id: 'topic 2', next_offsets: [0, 0] });
  expect(whatIsLost({ topic_id: 'topic 1', next_offsets: [7, 9] }, place)).toMatch(/made again/);
});

test('one that is made again and again is not believed', async () => {
  const { id, offsets } = topicMadeAgain(100);
  await expect(readPlace(id, offsets)).rejects.toThrow(/again and again/);
});
