// What other programs read, as an AsyncAPI 3.0 document generated from the zod schemas: the orders' topic (CloudEvents in
// binary mode) and direct delivery. packages/events/asyncapi.json is its committed copy; a test compares the two.
import {
  cloudEventType,
  deliveryReplySchema,
  orderEventSchema,
  orderEventTypes,
  orderStateSchema,
  progressSchema,
  watermarkSchema,
} from '@ballast/contracts';
import { z } from 'zod';
import { ordersTopic } from './kafka/index.ts';

const header = (description: string, extra: object = {}) => ({ type: 'string', description, ...extra });

const cloudEventHeaders = {
  ce_specversion: header('CloudEvents version.', { const: '1.0' }),
  ce_id: header('`<order>:<version>:<generation>`, of a snapshot with `:snapshot`; the same on every delivery.'),
  ce_type: header('What happened.', { enum: orderEventTypes.map(cloudEventType) }),
  ce_source: header("The journal's owner, `collection`."),
  ce_subject: header('The order.', { format: 'uuid' }),
  ce_time: header('When it was written.', { format: 'date-time' }),
  ce_sequence: header("The order's version, from 1 without a gap; repeats are possible.", { pattern: '^[0-9]+$' }),
  ce_generation: header('Of the source database; raised by failover or restore.', { pattern: '^[0-9]+$' }),
  ce_merchantid: header('Whose order it is.', { format: 'uuid' }),
  ce_livemode: header('False for test traffic.', { enum: ['true', 'false'] }),
  traceparent: header('W3C trace context, where the request had one.'),
  'content-type': header('Of the value.', { const: 'application/json' }),
};

const ofEventsOnly = new Set(['ce_sequence', 'ce_subject', 'ce_merchantid', 'ce_livemode', 'traceparent']);
const watermarkHeaders = Object.fromEntries(
  Object.entries(cloudEventHeaders).filter(([name]) => !ofEventsOnly.has(name)),
);

export function asyncApi(version: string): object {
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Ballast order events',
      version,
      description:
        'Every change of every order, in order per order, at least once. A consumer keeps the last (generation, version) ' +
        'of each order: what is not greater is a repeat, what is more than one greater shows a gap. Except a snapshot: it ' +
        'stands for all versions up to its own, some of which are in no journal any more, and is taken by whoever has less.',
    },
    defaultContentType: 'application/json',
    channels: {
      orders: {
        address: ordersTopic.name,
        description:
          `${ordersTopic.purpose}. Key: the order's id. An order stays in one partition. Of each order every version comes ` +
          'for the first time in ascending order, none left out. A stretch may come again after a restart of its ' +
          'publisher, ascending as before: it goes back by some versions, never ahead by more than one.',
        bindings: { kafka: { topic: ordersTopic.name, partitions: ordersTopic.partitions } },
        messages: { event: ref('messages/event'), watermark: ref('messages/watermark') },
      },
      deliveries: {
        address: '/deliveries',
        description:
          "Direct delivery: POST on the subscriber's internal face, bearer token, the next when this one is answered.",
        messages: { delivery: ref('messages/delivery'), reply: ref('messages/reply') },
      },
    },
    operations: {
      publishOrders: { action: 'send', channel: { $ref: '#/channels/orders' } },
      deliver: {
        action: 'send',
        channel: { $ref: '#/channels/deliveries' },
        bindings: { http: { method: 'POST' } },
        messages: [{ $ref: '#/channels/deliveries/messages/delivery' }],
        reply: {
          channel: { $ref: '#/channels/deliveries' },
          messages: [{ $ref: '#/channels/deliveries/messages/reply' }],
        },
      },
    },
    components: {
      messages: {
        event: {
          title: 'An order event',
          headers: { type: 'object', properties: cloudEventHeaders },
          payload: ref('schemas/OrderState'),
        },
        watermark: {
          title: 'Everything decided before its value stands before it, in this partition',
          headers: {
            type: 'object',
            properties: { ...watermarkHeaders, ce_type: header('A watermark.', { const: 'ballast.watermark.v1' }) },
          },
          payload: {
            type: 'object',
            properties: Object.fromEntries(
              Object.entries(
                watermarkSchema.pick({ node: true, value: true, run: true, after: true, since: true, replaced: true })
                  .shape,
              ).map(([name, field]) => [name, payloadField(field)]),
            ),
          },
        },
        delivery: { title: 'Messages in the order of the log', payload: ref('schemas/Delivery') },
        reply: { title: 'What became of them, and which versions are missing', payload: ref('schemas/DeliveryReply') },
      },
      schemas: {
        ...namedSchemas(),
        Delivery: {
          type: 'object',
          required: ['messages'],
          properties: {
            messages: {
              type: 'array',
              maxItems: 1_000,
              items: { oneOf: [ref('schemas/OrderEvent'), ref('schemas/Watermark')] },
            },
          },
        },
      },
    },
  };
}

function payloadField(field: z.ZodType): object {
  const { $schema: _, ...described } = z.toJSONSchema(field);
  return described;
}

function ref(path: string): { readonly $ref: string } {
  return { $ref: `#/components/${path}` };
}

/** Each named schema once; where one holds another it refers to it. */
function namedSchemas(): Record<string, unknown> {
  const registry = z.registry<{ id: string }>();
  const named = { OrderState: orderStateSchema, OrderEvent: orderEventSchema, Watermark: watermarkSchema };
  for (const [id, schema] of Object.entries({ ...named, Progress: progressSchema, DeliveryReply: deliveryReplySchema }))
    registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, { uri: (id) => `#/components/schemas/${id}` });
  return Object.fromEntries(Object.entries(schemas).map(([id, { $schema: _, $id: __, ...schema }]) => [id, schema]));
}
