// Takes events from Kafka when it is there: for ever, whatever happens to it. While Kafka is away forwarding delivers
// directly, to the same consumer; repeats between the two routes are dropped by (generation, version).
import { setTimeout as pause } from 'node:timers/promises';
import { type DeliveryReply, topicReadingSchema } from '@ballast/contracts';
import { refuseInTransaction } from '@ballast/database';
import type { Consumer } from '@ballast/events';
import { type KafkaConnection, openKafkaConsumer } from '@ballast/events/kafka';
import type { Logger } from '@ballast/telemetry';

export interface KafkaRoute {
  readonly connection: KafkaConnection;
  readonly consumer: Consumer;
  /** Forwarding's internal face, which fills gaps from the journal, and the token by which it knows us. */
  readonly forwardingUrl: string;
  readonly deliveryToken: string;
  readonly logger: Logger;
}

const GROUP = 'ballast.query';
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;
/** Shorter than the group's session (10 s): a forwarder that hangs must not cost the membership. */
const FORWARDING_TIMEOUT_MS = 5_000;

/** `close` leaves the group after the delivery under way. */
export function consumeKafka({ connection, consumer, forwardingUrl, deliveryToken, logger }: KafkaRoute) {
  const stop = new AbortController();

  async function askForGaps(gaps: DeliveryReply['gaps']): Promise<void> {
    refuseInTransaction('forwarding gaps');
    const reply = await fetch(new URL('/subscribers/query/gaps', forwardingUrl), {
      method: 'POST',
      headers: { authorization: `Bearer ${deliveryToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ gaps }),
      signal: AbortSignal.timeout(FORWARDING_TIMEOUT_MS),
    });
    await reply.body?.cancel();
    if (!reply.ok) throw new Error(`forwarding answered ${reply.status} to a report of ${gaps.length} gaps`);
  }

  /** Whoever pauses us at forwarding means this route too. */
  async function mayRead(): Promise<boolean> {
    const reply = await fetch(new URL('/subscribers/query/topic', forwardingUrl), {
      headers: { authorization: `Bearer ${deliveryToken}` },
      signal: AbortSignal.timeout(FORWARDING_TIMEOUT_MS),
    });
    return topicReadingSchema.parse(await reply.json()).reads;
  }

  /** One membership of the group. Resolves to why it ended; undefined: closed. */
  async function consume(): Promise<Error | undefined> {
    const { deliver } = consumer;
    const member = await openKafkaConsumer({ connection, logger, group: GROUP, deliver, askForGaps, mayRead });
    const leave = () => void member.close();
    stop.signal.addEventListener('abort', leave, { once: true });
    if (stop.signal.aborted) leave();
    logger.info({ group: GROUP }, 'consuming from Kafka');
    return member.ended.finally(() => stop.signal.removeEventListener('abort', leave));
  }

  async function run(): Promise<void> {
    for (let wait = FIRST_RETRY_MS; !stop.signal.aborted; wait = Math.min(LONGEST_RETRY_MS, wait * 2)) {
      const began = performance.now();
      const reason = await consume().catch((error: unknown) => error);
      if (stop.signal.aborted) return;
      if (performance.now() - began > LONGEST_RETRY_MS) wait = FIRST_RETRY_MS;
      logger.warn({ err: reason, retry_ms: wait }, 'not consuming from Kafka; trying again');
      await pause(wait, undefined, { signal: stop.signal }).catch(() => undefined); // closed while waiting
    }
  }

  const running = run();
  return {
    close: async (): Promise<void> => {
      stop.abort();
      await running;
    },
  };
}
