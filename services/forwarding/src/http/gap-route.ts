// A subscriber that reads the topic reports gaps here; what is missing is delivered to it directly, from the journal.
import { deliveryReplySchema, Problem } from '@ballast/contracts';
import { type App, problemReplies, requireBearer } from '@ballast/http';
import { z } from 'zod';
import type { Subscriber } from '../delivery/send-delivery.ts';
import type { Forwarding } from '../lead/forward-source.ts';

export interface GapRoute {
  readonly sources: readonly Forwarding[];
  readonly subscribers: readonly Subscriber[];
}

const bodySchema = z.object({ gaps: deliveryReplySchema.shape.gaps });
const BODY_LIMIT_BYTES = 1024 * 1024;

export function registerGapRoute(app: App, { sources, subscribers }: GapRoute): void {
  const response = { 200: z.object({ delivered: z.int() }), ...problemReplies('api_key_invalid', 'overloaded') };
  for (const { name, token } of subscribers) {
    app.post(
      `/subscribers/${name}/gaps`,
      { onRequest: requireBearer(token), bodyLimit: BODY_LIMIT_BYTES, schema: { body: bodySchema, response } },
      async (request) => {
        let delivered = 0;
        let led = false;
        for (const source of sources) {
          const count = await source.fill(name, request.body.gaps).catch((cause: unknown) => {
            throw new Problem('overloaded', 'the gaps could not be filled now', { retryAfterSeconds: 1, cause });
          });
          led ||= count !== undefined;
          delivered += count ?? 0;
        }
        if (!led) throw new Problem('overloaded', 'this instance does not lead', { retryAfterSeconds: 1 });
        return { delivered };
      },
    );
  }
}
