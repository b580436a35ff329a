import type { DeliveryReply } from '@ballast/contracts';
import { expect, test } from 'vitest';
import { deliverTogether } from '../src/kafka/together.ts';

const gap = { merchant_id: 'm', order_id: 'o', after_version: 1, before_version: 3 };

/** Takes deliveries one after the other, when told to; refuses those with `bad` in them. */
function subscriber() {
  const taken: unknown[][] = [];
  const turns: (() => void)[] = [];
  const deliver = async (messages: readonly unknown[]): Promise<DeliveryReply> => {
    await new Promise<void>((resolve) => turns.push(resolve));
    taken.push([...messages]);
    if (messages.includes('bad')) throw new Error('cannot be read');
    return { applied: messages.length, repeated: 0, held: 0, parked: 0, gaps: [gap], progress: [] };
  };
  const next = async () => {
    await expect.poll(() => turns.length).toBe(1);
    turns.shift()?.();
  };
  return { taken, deliver, next };
}

test('what waits for its turn shares the next delivery, up to so many messages, and one of them reports its gaps', async () => {
  const { taken, deliver, next } = subscriber();
  const together = deliverTogether(deliver, 4);
  const calls = [['a'], ['b', 'b'], ['c', 'c'], ['d']].map((messages) => together(messages));
  for (let turns = 0; turns < 3; turns++) await next();
  const replies = await Promise.all(calls);
  expect(taken).toEqual([['a'], ['b', 'b', 'c', 'c'], ['d']]);
  expect(replies.map(({ gaps }) => gaps.length)).toEqual([1, 1, 0, 1]);
});

test('a shared delivery that fails is tried one by one: what is wrong with one partition holds up no other', async () => {
  const { taken, deliver, next } = subscriber();
  const together = deliverTogether(deliver, 100);
  const first = together(['first']);
  const [good, bad, other] = [['x'], ['bad'], ['y']].map((messages) => together(messages).then(() => 'taken', String));
  for (let turns = 0; turns < 5; turns++) await next();
  await first;
  expect(await Promise.all([good, bad, other])).toEqual(['taken', 'Error: cannot be read', 'taken']);
  expect(taken).toEqual([['first'], ['x', 'bad', 'y'], ['x'], ['bad'], ['y']]);
});
