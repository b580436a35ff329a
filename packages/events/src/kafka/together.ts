// Partitions are read side by side, and the subscriber takes one delivery at a time: what waits for its turn shares the
// next one. Each order has one partition, and a partition waits for its delivery before it reads on, so no order's events
// change places. When a shared delivery fails, each is tried alone: what is wrong with one holds up no other.
import type { DeliveryReply } from '@ballast/contracts';
import type { Consumer } from '../consumer/consumer.ts';

interface Waiting {
  readonly messages: readonly unknown[];
  resolve(reply: DeliveryReply): void;
  reject(error: unknown): void;
}

/** `most` messages in a delivery, or as many as one call has. All that share one get its reply, and one of them its gaps. */
export function deliverTogether(deliver: Consumer['deliver'], most: number): Consumer['deliver'] {
  const waiting: Waiting[] = [];
  let delivering = false;

  async function run(): Promise<void> {
    delivering = true;
    while (waiting.length > 0) {
      const sharing = takeTogether(waiting, most);
      try {
        const reply = await deliver(sharing.flatMap(({ messages }) => messages));
        for (const [index, { resolve }] of sharing.entries()) resolve(index === 0 ? reply : { ...reply, gaps: [] });
      } catch (error) {
        if (sharing.length === 1) sharing[0]?.reject(error);
        else for (const { messages, resolve, reject } of sharing) await deliver(messages).then(resolve, reject);
      }
    }
    delivering = false;
  }

  return (messages) =>
    new Promise((resolve, reject) => {
      waiting.push({ messages, resolve, reject });
      if (!delivering) void run();
    });
}

function takeTogether(waiting: Waiting[], most: number): readonly Waiting[] {
  let count = 0;
  let messages = 0;
  while (count < waiting.length) {
    messages += waiting[count]?.messages.length ?? 0;
    if (count > 0 && messages > most) break;
    count++;
  }
  return waiting.splice(0, count);
}
