// What a terminal posts and what it is told. One schema: validation, types and OpenAPI all come from here.
import { z } from 'zod';
import { holdsCardData, passesLuhn } from './card-data.ts';
import { idSchema } from './ids.ts';
import { amountSchema, currencySchema } from './money.ts';
import { textSchema } from './text.ts';

const digits = (min: number, max: number) =>
  z.string().regex(new RegExp(`^[0-9]{${min},${max}}$`), `must be ${min === max ? min : `${min} to ${max}`} digits`);

export const batchNumberSchema = digits(1, 6).meta({
  description: "The terminal's batch number.",
  examples: ['000001'],
});
export const traceNumberSchema = digits(6, 6).meta({
  description: "The terminal's trace number (STAN), unique within its batch.",
  examples: ['000123'],
});
export const instantSchema = z.iso.datetime({ offset: true, message: 'must be an RFC 3339 time with an offset' });

const cardSchema = z.strictObject({
  type: z.literal('card'),
  number: digits(12, 19)
    .refine(passesLuhn, 'is not a valid card number')
    .meta({ examples: ['4242424242424242'] }),
  expiry_month: z.int().min(1).max(12),
  expiry_year: z.int().min(2000).max(2099),
  entry_mode: z.enum(['chip', 'contactless', 'magstripe', 'manual']),
  // These three pass through memory to the bank and are never stored, not even encrypted.
  track2: z.string().max(40).optional(),
  cvv: digits(3, 4).optional(),
  pin_block: z
    .string()
    .regex(/^[0-9A-Fa-f]{16}$/, 'must be 16 hexadecimal digits')
    .optional(),
});

const codeSchema = z.strictObject({
  type: z.literal('code'),
  code: z
    .string()
    .regex(/^[0-9A-Za-z]{10,64}$/, 'must be 10 to 64 letters or digits')
    .meta({ description: "The payment code read from the customer's screen (QR).", examples: ['2890123456789012'] }),
});

const discountSchema = z.strictObject({
  id: textSchema(64),
  kind: z.enum(['coupon', 'points', 'promotion']),
  amount: amountSchema,
});

export const paymentRequestSchema = z
  .strictObject({
    amount: amountSchema,
    currency: currencySchema,
    batch_number: batchNumberSchema,
    trace_number: traceNumberSchema,
    transaction_time: instantSchema.meta({ description: "The terminal's own time of the transaction." }),
    payment_method: z.discriminatedUnion('type', [cardSchema, codeSchema]),
    merchant_reference: textSchema(64).optional(),
    user: z
      .strictObject({
        id: textSchema(64).optional(),
        phone: z
          .string()
          .regex(/^\+?[0-9]{5,20}$/)
          .optional(),
      })
      .optional(),
    device: z
      .strictObject({
        serial_number: textSchema(64).optional(),
        model: textSchema(64).optional(),
        app_version: textSchema(32).optional(),
      })
      .optional(),
    discounts: z.array(discountSchema).max(20).optional(),
    confirm_duplicate_of: idSchema('ord').optional(),
  })
  .superRefine(({ payment_method, ...rest }, context) => {
    const message = 'must not hold the card number, track or code of the payment';
    for (const path of pathsTo(rest, (text) => holdsCardData(text, payment_method)))
      context.addIssue({ code: 'custom', path, message });
  })
  .meta({ id: 'PaymentRequest' });

export type PaymentRequest = z.infer<typeof paymentRequestSchema>;
export type PaymentMethod = PaymentRequest['payment_method'];

export const voidRequestSchema = z
  .strictObject({
    batch_number: batchNumberSchema,
    trace_number: traceNumberSchema,
    transaction_time: instantSchema.meta({
      description:
        'That of the payment it names, as the payment has it; a number not known is held for recent ones only.',
    }),
    reason: z.enum(['customer_cancelled', 'terminal_timeout', 'operator_error', 'other']).default('other'),
  })
  .meta({ id: 'VoidRequest' });

export type VoidRequest = z.infer<typeof voidRequestSchema>;

/** What a void is told whose payment is not known: nothing was undone, the number is held. */
export const heldVoidSchema = z
  .object({
    status: z.literal('held'),
    batch_number: z.string(),
    trace_number: z.string(),
    message: z.string().meta({ description: 'One sentence for the cashier.' }),
  })
  .meta({ id: 'HeldVoid' });

export type HeldVoid = z.infer<typeof heldVoidSchema>;

/** States of an order. The table of moves is in collection's payments/payment.ts. */
export const orderStatuses = [
  'processing',
  'approved',
  'declined',
  'in_doubt',
  'not_completed',
  'cancelled',
  'reversing',
  'reversed',
  'reversal_refused',
] as const;
export type OrderStatus = (typeof orderStatuses)[number];

/** What a terminal is told finally: written once with the order and replayed byte for byte. */
export const finalAnswers = ['approved', 'declined', 'not_completed', 'cancelled'] as const;
export type FinalAnswer = (typeof finalAnswers)[number];

/** An order as its terminal sees it. The stored final answer has exactly this shape, with a final `status`. */
export const paymentSchema = z
  .object({
    id: idSchema('ord'),
    status: z.enum(orderStatuses),
    amount: z.int(),
    currency: currencySchema,
    approved_amount: z.int().optional(),
    livemode: z.boolean(),
    batch_number: z.string(),
    trace_number: z.string(),
    merchant_reference: z.string().optional(),
    business_date: z.iso.date(),
    created_at: z.string(),
    card: z
      .object({ bin: z.string().meta({ description: 'Its first digits, six at most.' }), last_four: z.string() })
      .optional(),
    decline_code: z.string().optional(),
    authorization_code: z.string().optional(),
    rrn: z.string().optional(),
    approve_until: z
      .string()
      .optional()
      .meta({ description: 'While in doubt: until then an approval may still be told.' }),
    message: z.string().meta({ description: 'One sentence for the cashier.' }),
    answer: z
      .enum(finalAnswers)
      .optional()
      .meta({ description: 'On GET: what the terminal was finally told, if it was.' }),
  })
  .meta({ id: 'Payment' });

export type Payment = z.infer<typeof paymentSchema>;

/** The ways to every text of a parsed body, however deep, for which `is` holds. */
function pathsTo(value: unknown, is: (text: string) => boolean): readonly string[][] {
  if (typeof value === 'string') return is(value) ? [[]] : NOWHERE;
  if (typeof value !== 'object' || value === null) return NOWHERE;
  const paths: string[][] = [];
  for (const [key, inner] of Object.entries(value)) for (const path of pathsTo(inner, is)) paths.push([key, ...path]);
  return paths;
}

const NOWHERE: readonly string[][] = [];
