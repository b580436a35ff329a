// What a merchant sees of its orders. Every field is always there; null says that there is nothing. Amounts are integer
// minor units, times RFC 3339 UTC with milliseconds.
import { z } from 'zod';
import { idSchema } from './ids.ts';
import { currencySchema } from './money.ts';
import { orderEventTypes } from './order-event.ts';
import { finalAnswers, orderStatuses } from './payment.ts';

export const merchantOrderSchema = z
  .object({
    id: idSchema('ord'),
    status: z.enum(orderStatuses),
    livemode: z.boolean(),
    amount: z.int(),
    currency: currencySchema,
    approved_amount: z.int().nullable(),
    method: z.enum(['card', 'code']),
    channel: z.string().nullable(),
    terminal: idSchema('trm'),
    batch_number: z.string(),
    trace_number: z.string(),
    merchant_reference: z.string().nullable(),
    card: z.object({ bin: z.string().nullable(), last_four: z.string() }).nullable(),
    authorization_code: z.string().nullable(),
    rrn: z.string().nullable().meta({ description: "The bank's retrieval reference number, as on the slip." }),
    decline_code: z.string().nullable(),
    reason: z.string().nullable(),
    answer: z.enum(finalAnswers).nullable().meta({ description: 'What the terminal was finally told, if it was.' }),
    void_requested: z.boolean(),
    business_date: z.iso.date(),
    created_at: z.string(),
    updated_at: z.string().meta({ description: 'When the last event of the order occurred.' }),
    version: z.int().meta({ description: 'How many events the order has had.' }),
  })
  .meta({ id: 'MerchantOrder' });

export type MerchantOrder = z.infer<typeof merchantOrderSchema>;

/** An attempt at a bank, with the bank's facts masked: enough to talk to the bank about it, not enough to act for us. */
const merchantAttemptSchema = z
  .object({
    attempt: z.int(),
    state: z.string(),
    channel: z.string(),
    bank_reference: z.string().meta({ description: 'Masked but for its last four characters.' }),
    rrn: z.string().nullable(),
    authorization_code: z.string().nullable(),
    bank_code: z.string().nullable(),
    reason: z.string().nullable(),
  })
  .meta({ id: 'MerchantAttempt' });

export type MerchantAttempt = z.infer<typeof merchantAttemptSchema>;

const merchantOrderEventSchema = z
  .object({
    version: z.int(),
    type: z.enum(orderEventTypes),
    occurred_at: z.string(),
    status: z.enum(orderStatuses),
    approved_amount: z.int().nullable(),
    channel: z.string().nullable(),
    decline_code: z.string().nullable(),
    reason: z.string().nullable(),
    answer: z.enum(finalAnswers).nullable(),
    void_requested: z.boolean(),
    window_closed: z.boolean(),
    attempt: merchantAttemptSchema.nullable(),
  })
  .meta({ id: 'MerchantOrderEvent' });

export type MerchantOrderEvent = z.infer<typeof merchantOrderEventSchema>;

/** One order's whole story. */
export const merchantOrderStorySchema = merchantOrderSchema
  .extend({
    user_id: z.string().nullable(),
    device: z.record(z.string(), z.unknown()).nullable(),
    discounts: z.array(z.unknown()).nullable(),
    approve_until: z.string(),
    voidable_until: z.string(),
    window_closed: z.boolean(),
    attempts: z
      .array(merchantAttemptSchema)
      .meta({ description: 'Each attempt as it stands now, the first one first.' }),
    events: z.array(merchantOrderEventSchema).meta({ description: "Every event, with the order's state after it." }),
  })
  .meta({ id: 'MerchantOrderStory' });

export type MerchantOrderStory = z.infer<typeof merchantOrderStorySchema>;

export const merchantOrderListSchema = z
  .object({
    data: z.array(merchantOrderSchema),
    has_more: z.boolean(),
    next_cursor: idSchema('ord').nullable().meta({
      description: 'The next `starting_after`. With a rare filter a page may be short, even empty, and have more.',
    }),
  })
  .meta({ id: 'MerchantOrderList' });

export type MerchantOrderList = z.infer<typeof merchantOrderListSchema>;
