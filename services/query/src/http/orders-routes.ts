// What merchants call.

import { idSchema, merchantOrderListSchema, merchantOrderStorySchema, uuidOf } from '@ballast/contracts';
import type { Knex } from '@ballast/database';
import { type App, problemReplies } from '@ballast/http';
import { z } from 'zod';
import { listOrders } from '../orders/list-orders.ts';
import { orderFiltersSchema } from '../orders/order-filters.ts';
import { tellStory } from '../orders/tell-story.ts';
import { requireKey, scopeOfRequest } from './merchant-key.ts';

const security = [{ bearer: [] }];

/** `knex`: the readers' pool. */
export function ordersRoutes(app: App, knex: Knex): void {
  const onRequest = requireKey(knex);

  app.get(
    '/v1/orders',
    {
      onRequest,
      schema: {
        summary: "A page of the merchant's orders, newest first",
        security,
        querystring: orderFiltersSchema,
        response: {
          200: merchantOrderListSchema.meta({ description: 'May be short of `limit` and still have more.' }),
          ...problemReplies('invalid_parameter', 'api_key_invalid', 'database_unavailable'),
        },
      },
    },
    async (request, reply) => {
      const page = await listOrders(knex, scopeOfRequest(request), request.query);
      if (page.next_cursor !== null) reply.header('link', `<${withCursor(request.url, page.next_cursor)}>; rel="next"`);
      return page;
    },
  );

  app.get(
    '/v1/orders/:id',
    {
      onRequest,
      schema: {
        summary: "One order's whole story: every event in order, every attempt at a bank",
        security,
        params: z.strictObject({ id: idSchema('ord') }),
        querystring: z.strictObject({}),
        response: {
          200: merchantOrderStorySchema.meta({ description: 'As far as its events have come here.' }),
          ...problemReplies('invalid_parameter', 'api_key_invalid', 'not_found', 'database_unavailable'),
        },
      },
    },
    async (request) => {
      const orderId = uuidOf('ord', request.params.id);
      if (orderId === undefined) throw new Error('BUG: the schema let through what is not an order id');
      return tellStory(knex, scopeOfRequest(request), orderId);
    },
  );
}

/** The same request from another cursor, as a relative reference. */
function withCursor(url: string, cursor: string): string {
  const [path = '', query = ''] = url.split('?', 2);
  const params = new URLSearchParams(query);
  params.set('starting_after', cursor);
  return `${path}?${params}`;
}
