// The direct route's end: POST /deliveries on the subscriber's internal face.
import { createHash, timingSafeEqual } from 'node:crypto';
import { Problem } from '@ballast/contracts';
import type { FastifyInstance } from 'fastify';
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
  app.post('/deliveries', { bodyLimit: BODY_LIMIT_BYTES }, async (request) => {
    if (!timingSafeEqual(digest(request.headers.authorization ?? ''), expected))
      throw new Problem('forbidden', 'deliveries are for the forwarder only');
    const body = bodySchema.safeParse(request.body);
    if (!body.success) throw new Problem('invalid_request', 'the body is not a delivery');
    return consumer.deliver(body.data.messages);
  });
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
