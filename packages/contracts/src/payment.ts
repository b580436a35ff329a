// What a terminal posts and what it is told. One schema: validation, types and OpenAPI all come from here.
import { z } from 'zod';
import { idSchema } from './ids.ts';
import { amountSchema, currencySchema } from './money.ts';

/** Text that PostgreSQL can store and a screen can show: no NUL, no other control characters, no lone surrogates. */
const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => value.isWellFormed(), 'must be well-formed Unicode')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
    .refine((value) => !/[\u0000-\u001f\u007f]/.test(value), 'must not contain control characters');

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
  // These three pass through memory to the bank and are never stored, not even encrypted (M3).
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
  id: text(64),
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
    merchant_reference: text(64).optional(),
    user: z
      .strictObject({
        id: text(64).optional(),
        phone: z
          .string()
          .regex(/^\+?[0-9]{5,20}$/)
          .optional(),
      })
      .optional(),
    device: z
      .strictObject({
        serial_number: text(64).optional(),
        model: text(64).optional(),
        app_version: text(32).optional(),
      })
      .optional(),
    discounts: z.array(discountSchema).max(20).optional(),
    confirm_duplicate_of: idSchema('ord').optional(),
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
    card: z.object({ bin: z.string(), last_four: z.string() }).optional(),
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

/** Luhn checksum (ISO/IEC 7812-1, annex B). */
function passesLuhn(number: string): boolean {
  let sum = 0;
  for (let i = 0; i < number.length; i++) {
    const digit = number.charCodeAt(number.length - 1 - i) - 48;
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}
