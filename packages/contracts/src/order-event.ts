// The event contract. Each event carries the order's whole public state after the change, so that a read model needs no
// other event to be right, and events can be remade from orders. Card numbers never appear here, in any form.
import { z } from 'zod';
import { orderStatuses } from './payment.ts';

/**
 * Not a change: the order's last state, standing for all its versions up to this one, of which some are in no journal any
 * more. Whoever has less applies it, whatever is missing in between; whoever has it or more drops it as a repeat.
 */
export const SNAPSHOT = 'snapshot';

export const orderEventTypes = [
  'accepted',
  'approved',
  'declined',
  'in_doubt',
  'not_completed',
  'cancelled',
  'void_requested',
  'reversing',
  'reversed',
  'reversal_refused',
  'window_closed',
  'attempt_changed',
  SNAPSHOT,
] as const;
export type OrderEventType = (typeof orderEventTypes)[number];

/** `ballast.order.approved.v1`, the CloudEvents `type`. */
export function cloudEventType(type: OrderEventType): string {
  return `ballast.order.${type}.v1`;
}

const attemptStateSchema = z.object({
  attempt: z.int(),
  state: z.string(),
  channel: z.string(),
  bank_reference: z.string(),
  rrn: z.string().nullable(),
  authorization_code: z.string().nullable(),
  bank_code: z.string().nullable(),
  reason: z.string().nullable(),
});

/** `data` of every order event. Amounts are integer minor units; times RFC 3339 UTC with milliseconds or finer. */
export const orderStateSchema = z
  .object({
    order_id: z.uuid(),
    merchant_id: z.uuid(),
    terminal_id: z.uuid(),
    livemode: z.boolean(),
    version: z.int().min(1),
    status: z.enum(orderStatuses),
    amount: z.int().min(1),
    currency: z.string().length(3),
    approved_amount: z.int().nullable(),
    method: z.enum(['card', 'code']),
    channel: z.string().nullable(),
    batch_number: z.string(),
    trace_number: z.string(),
    merchant_reference: z.string().nullable(),
    card_bin: z.string().nullable(),
    card_last_four: z.string().nullable(),
    user_id: z.string().nullable(),
    device: z.record(z.string(), z.unknown()).nullable(),
    discounts: z.array(z.unknown()).nullable(),
    decline_code: z.string().nullable(),
    reason: z.string().nullable(),
    answer: z.string().nullable(),
    business_date: z.string(),
    accepted_at: z.string(),
    approve_until: z.string(),
    voidable_until: z.string(),
    void_requested: z.boolean(),
    window_closed: z.boolean(),
    attempt: attemptStateSchema.nullable(),
  })
  .meta({ id: 'OrderState' });

export type OrderState = z.infer<typeof orderStateSchema>;

/** One journal row on its way to a consumer, the same on every route. `generation` belongs to the source database. */
export const orderEventSchema = z
  .object({
    kind: z.literal('event'),
    id: z.string().meta({
      description: '`<order uuid>:<version>:<generation>`, of a snapshot with `:snapshot`; the same on every delivery.',
    }),
    source: z.string().meta({ description: 'The owner of the journal, e.g. `collection`.' }),
    generation: z.int().min(1),
    type: z.enum(orderEventTypes),
    order_id: z.uuid(),
    merchant_id: z.uuid(),
    version: z.int().min(1),
    livemode: z.boolean(),
    occurred_at: z.string(),
    traceparent: z.string().nullable(),
    data: orderStateSchema,
  })
  .meta({ id: 'OrderEvent' });

export type OrderEvent = z.infer<typeof orderEventSchema>;

/** Always six digits and Z: such texts compare as the times do. */
const markSchema = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);

/** Each is an incident. Beyond these a forwarder puts the oldest together, at the earliest of their times. */
export const MOST_REPLACED = 20;

/**
 * A claim about one route, true for whoever has everything that came on it since its beginning, and had everything older
 * when it began: everything decided before `value` on this node stands before this message.
 */
export const watermarkSchema = z
  .object({
    kind: z.literal('watermark'),
    source: z.string(),
    generation: z.int().min(1),
    node: z.string(),
    value: markSchema.meta({ description: 'RFC 3339 UTC with microseconds.' }),
    run: z.uuid().meta({
      description: 'Deliveries without a hole between them; another one whenever the route begins anew.',
    }),
    after: markSchema.nullable().meta({
      description:
        'The value of the watermark before it in this run: nothing is missing between the two. Null: the run ' +
        'begins here, and whatever was decided at `value` or later comes after it.',
    }),
    since: markSchema.nullable().meta({
      description:
        'Everything that came before the watermark `after` was decided before this time; null: not known. Who ' +
        'joins at that watermark misses nothing, if it has everything decided before this time from elsewhere.',
    }),
    replaced: z
      .array(z.object({ generation: z.int().min(2), from: markSchema }))
      .max(MOST_REPLACED)
      .meta({
        description:
          'Generations that took over from a history of which something may be lost, the newest first: what an older ' +
          'generation issued at `from` or later may never have happened, though nothing comes that replaces it.',
      }),
  })
  .meta({ id: 'Watermark' });

export type Watermark = z.infer<typeof watermarkSchema>;
export type Replaced = Watermark['replaced'][number];

/** Nothing was decided before it: a route whose beginning has this value has everything. */
export const BEFORE_EVERYTHING = '1970-01-01T00:00:00.000000Z';

/** How far a subscriber is: everything decided before `value` on this node is applied, held or parked there. */
export const progressSchema = z
  .object({
    source: z.string(),
    node: z.string(),
    generation: z.int().min(1),
    value: z.string(),
    by_topic: z
      .string()
      .nullable()
      .meta({ description: 'How far it would be by the topic alone; null: by the topic nothing is proven.' }),
  })
  .meta({ id: 'Progress' });

export type Progress = z.infer<typeof progressSchema>;

/** Body of a direct delivery: messages in the order of the log. */
export const deliverySchema = z
  .object({ messages: z.array(z.discriminatedUnion('kind', [orderEventSchema, watermarkSchema])).max(1000) })
  .meta({ id: 'Delivery' });

export type Delivery = z.infer<typeof deliverySchema>;
export type DeliveredMessage = Delivery['messages'][number];

/** The subscriber's reply: everything was applied, dropped as a repeat, held, or parked; gaps are asked for again. */
export const deliveryReplySchema = z
  .object({
    applied: z.int(),
    repeated: z.int(),
    held: z.int(),
    parked: z.int(),
    gaps: z
      .array(z.object({ merchant_id: z.uuid(), order_id: z.uuid(), after_version: z.int(), before_version: z.int() }))
      .max(1000),
    progress: z
      .array(progressSchema)
      .default([])
      .meta({ description: 'In the reply to a watermark, and to a delivery without messages, which only asks.' }),
  })
  .meta({ id: 'DeliveryReply' });

export type DeliveryReply = z.infer<typeof deliveryReplySchema>;

/** What forwarding says to a subscriber that reads the topic, which asks: false: it rests, and everything stays there. */
export const topicReadingSchema = z.object({ reads: z.boolean() });
export type Gap = DeliveryReply['gaps'][number];
