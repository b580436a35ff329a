// Keys and rebuilds: on the internal face, for operators and provisioning.
import { idSchema, Problem, publicId, uuidOf, wordsSchema } from '@ballast/contracts';
import { type App, problemReplies, requireBearer } from '@ballast/http';
import { z } from 'zod';
import { issueKey, revokeKey } from '../keys/api-keys.ts';
import type { Deliveries } from '../read-model/deliveries.ts';
import type { Rebuilds } from '../read-model/rebuild.ts';

const newKeySchema = z.strictObject({
  merchant_id: idSchema('mer'),
  livemode: z.boolean(),
  name: wordsSchema(100),
});

const MAX_PARKED_SHOWN = 100;

const replies = problemReplies('api_key_invalid', 'invalid_request', 'not_found', 'already_exists');

export function adminRoutes(app: App, deliveries: Deliveries, rebuilds: Rebuilds, adminToken: string): void {
  const { knex, consumer } = deliveries;
  const onRequest = requireBearer(adminToken);

  app.post(
    '/admin/api-keys',
    { onRequest, schema: { body: newKeySchema, response: replies } },
    async ({ body }, reply) => {
      const { merchant_id, livemode, name } = body;
      const merchantId = uuidIn('mer', merchant_id);
      const { id, apiKey } = await issueKey(knex, { merchantId, livemode }, name);
      reply.code(201).header('cache-control', 'no-store');
      return { id: publicId('key', id), api_key: apiKey, merchant_id, livemode, name };
    },
  );

  app.delete(
    '/admin/api-keys/:id',
    { onRequest, schema: { params: z.strictObject({ id: idSchema('key') }), response: replies } },
    async ({ params }, reply) => {
      if (!(await revokeKey(knex, uuidIn('key', params.id))))
        throw new Problem('not_found', `There is no live key ${params.id}.`);
      return reply.code(204).send();
    },
  );

  app.post('/admin/rebuild', { onRequest, schema: { response: replies } }, async (_request, reply) => {
    reply.code(202);
    return rebuilds.start();
  });

  app.get('/admin/rebuild', { onRequest, schema: { response: replies } }, async () => rebuilds.progress());

  app.delete('/admin/rebuild', { onRequest, schema: { response: replies } }, async (_request, reply) => {
    await rebuilds.cancel();
    return reply.code(204).send();
  });

  app.get('/admin/parked', { onRequest, schema: { response: replies } }, async () => {
    const parked = await consumer.parked(MAX_PARKED_SHOWN);
    return { data: parked.map(({ order_id, ...rest }) => ({ order_id: publicId('ord', order_id), ...rest })) };
  });

  app.post(
    '/admin/parked/:id/retry',
    { onRequest, schema: { params: z.strictObject({ id: idSchema('ord') }), response: replies } },
    async ({ params }) => consumer.retryParked(uuidIn('ord', params.id)),
  );
}

/** The schema has looked at its form already. */
function uuidIn(prefix: 'mer' | 'key' | 'ord', id: string): string {
  const uuid = uuidOf(prefix, id);
  if (uuid === undefined) throw new Error('BUG: the schema let through what is not an id');
  return uuid;
}
