// One delivery to one subscriber, over a connection of its own: what is slow there is slow for nobody else.
import { type DeliveryReply, deliveryReplySchema } from '@ballast/contracts';
import { refuseInTransaction } from '@ballast/database';
import type { OutgoingMessage, TopicPlace } from '@ballast/events/kafka';
import { Pool } from 'undici';
import { openBodyWriter } from './delivery-body.ts';

export interface Subscriber {
  readonly name: string;
  readonly url: string;
  readonly token: string;
  /** kafka: it consumes the topic, and is delivered to directly only while Kafka does not serve. */
  readonly route: 'direct' | 'kafka';
}

export interface Sender {
  /** One after the other. Resolves to the subscriber's reply. Rejects with DeliveryFailed: it may have been applied; sending it again is safe. */
  send(messages: readonly OutgoingMessage[]): Promise<DeliveryReply>;
  /** What a topic has acknowledged; null: it is no topic. */
  published(): TopicPlace | null;
  close(): Promise<void>;
}

export class DeliveryFailed extends Error {
  /** The subscriber did not answer in time: less at a time may help. */
  readonly tooSlow: boolean;
  constructor(message: string, tooSlow: boolean, cause?: unknown) {
    super(message, { cause });
    this.name = 'DeliveryFailed';
    this.tooSlow = tooSlow;
  }
}

const CONNECT_TIMEOUT_MS = 2_000;
/** A thousand events take a subscriber some 50 ms; its own statement timeout is 5 s. */
const REPLY_TIMEOUT_MS = 15_000;
const MAX_REPLY_BYTES = 1_048_576;
const SHOWN_CHARACTERS = 300;

export function openSender({ name, url, token }: Subscriber): Sender {
  const pool = new Pool(new URL(url).origin, {
    connections: 1,
    pipelining: 1, // the next delivery leaves when this one is stored: that is the order
    connect: { timeout: CONNECT_TIMEOUT_MS },
    headersTimeout: REPLY_TIMEOUT_MS,
    bodyTimeout: REPLY_TIMEOUT_MS,
    maxResponseSize: MAX_REPLY_BYTES,
  });
  const writer = openBodyWriter();
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const path = `${new URL(url).pathname.replace(/\/$/, '')}/deliveries`;
  let last: Promise<unknown> = Promise.resolve();

  async function post(messages: readonly OutgoingMessage[]): Promise<DeliveryReply> {
    const body = writer.write(messages);
    try {
      const answer = await pool.request({ method: 'POST', path, headers, body });
      const text = await answer.body.text();
      if (answer.statusCode !== 200)
        throw new DeliveryFailed(`${name} answered ${answer.statusCode}: ${text.slice(0, SHOWN_CHARACTERS)}`, false);
      return deliveryReplySchema.parse(JSON.parse(text));
    } catch (error) {
      if (error instanceof DeliveryFailed) throw error;
      const why = error instanceof Error ? error.message || error.name : String(error);
      throw new DeliveryFailed(`${name}: ${why}`, /timeout/i.test(why), error);
    }
  }

  return {
    send: (messages) => {
      refuseInTransaction(`delivery to ${name}`);
      const turn = last.then(() => post(messages));
      last = turn.catch(() => undefined); // its own caller is told
      return turn;
    },
    published: () => null,
    close: () => pool.destroy(),
  };
}
