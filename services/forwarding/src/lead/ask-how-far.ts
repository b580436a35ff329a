// Asks the subscribers, before anything is forwarded, what they were told of a source. They are the only ones who know when
// the source and forwarding's own database were restored together. Who does not answer is not waited for.

import { openSender, type Subscriber } from '../delivery/send-delivery.ts';
import { within } from '../source/connect.ts';
import type { Claim } from './history.ts';

/** A healthy one answers in milliseconds, and a standby is to lead within two seconds. */
const ANSWER_MS = 1_000;

export async function askHowFar(source: string, subscribers: readonly Subscriber[]): Promise<Claim[]> {
  const answers = await Promise.allSettled(
    subscribers.map(async (subscriber) => {
      const sender = openSender(subscriber);
      try {
        const { progress } = await within(ANSWER_MS, subscriber.name, sender.send([]));
        return progress.filter((one) => one.source === source && one.node === source);
      } finally {
        await sender.close();
      }
    }),
  );
  return answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
}
