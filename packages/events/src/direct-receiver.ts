// The direct route's end: POST /deliveries on the subscriber's internal face.
import { createHash, timingSafeEqual } from 'node:crypto';
import { Problem } from '@ballast/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Consumer } from './consumer/consumer.ts';

export interface DirectReceiver {
  readonly consumer: Consumer;
  /** The forwarder's bearer token. */
  readonly token: string;
}

/** A thousand events of a few kB each. */
const BODY_LIMIT_BYTES = 16 * 1024 * 1024;
const MAX_MESSAGES = 1_000;

const bodySchema = z.object({ messages: z.array(z.unknown()).max(MAX_MESSAGES) });

/** Body: contracts `Delivery`; reply: `DeliveryReply` once everything is stored. 503: send the same again. */
export function registerDirectReceiver(app: Pick<FastifyInstance, 'post'>, { consumer, token }: DirectReceiver): void {
  const expected = digest(`Bearer ${token}`);

  async function onlyTheForwarder(request: FastifyRequest): Promise<void> {
    if (!timingSafeEqual(digest(request.headers.authorization ?? ''), expected))
      throw new Problem('api_key_invalid', 'deliveries are for the forwarder only');
  }

  // The app's JSON rules are for strangers: a depth or a key that they refuse would stop every order behind this one.
  // What is wrong with one event is the consumer's to find, and parks that event alone.
  async function parse(request: FastifyRequest): Promise<void> {
    if (!Buffer.isBuffer(request.body)) return;
    try {
      request.body = JSON.parse(request.body.toString());
    } catch (error) {
      throw new Problem('malformed_body', 'the body is not JSON', { cause: error });
    }
  }

  const options = { bodyLimit: BODY_LIMIT_BYTES, onRequest: onlyTheForwarder, preValidation: parse };
  app.post('/deliveries', options, async (request) => {
    const body = bodySchema.safeParse(request.body);
    if (!body.success) throw new Problem('invalid_request', 'the body is not a delivery');
    return consumer.deliver(body.data.messages);
  });
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
