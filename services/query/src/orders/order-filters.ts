// The parameters of GET /v1/orders, and what they mean for the index that is walked.
import {
  batchNumberSchema,
  idSchema,
  MAX_AMOUNT,
  orderStatuses,
  textSchema,
  traceNumberSchema,
  uuidOf,
} from '@ballast/contracts';
import { z } from 'zod';
import { lowestIdAt } from '../read-model/partitions.ts';
import type { FilterColumn, OrderQuery } from './read-orders.sql.ts';

const DAY_MS = 86_400_000;
/** An order's id is made before its row is stored; a collection refuses one that is ten minutes from database time. */
const ID_SLACK_MS = 600_000;
const FIRST_YEAR = 2000;
const LAST_YEAR = 2099;

const inRange = (value: string) => Number(value.slice(0, 4)) >= FIRST_YEAR && Number(value.slice(0, 4)) <= LAST_YEAR;
const RANGE = `must lie in the years ${FIRST_YEAR} to ${LAST_YEAR}`;

/** The read model keeps milliseconds; a finer bound would be rounded silently. */
const instant = z.iso
  .datetime({ offset: true, message: 'must be an RFC 3339 time with an offset', abort: true })
  .refine((value) => !/\.\d{4}/.test(value), 'must not be finer than milliseconds')
  .refine(inRange, RANGE)
  .meta({ examples: ['2026-11-24T00:00:00Z'] });

const integer = (max: bigint) =>
  z
    .string()
    .regex(/^[1-9][0-9]{0,11}$/, 'must be a positive integer')
    .transform((value) => BigInt(value))
    .refine((value) => value <= max, `must be at most ${max}`);

export const orderFiltersSchema = z.strictObject({
  'created[gte]': instant.optional(),
  'created[lt]': instant.optional(),
  status: z.enum(orderStatuses).optional(),
  channel: z
    .string()
    .regex(/^[a-z0-9_-]{1,64}$/, 'must be the name of a channel')
    .optional(),
  terminal: idSchema('trm').optional(),
  merchant_reference: textSchema(64).optional(),
  card_last_four: z
    .string()
    .regex(/^[0-9]{4}$/, 'must be 4 digits')
    .optional(),
  amount: integer(MAX_AMOUNT)
    .optional()
    .meta({ description: 'Integer minor units.', examples: ['1250'] }),
  batch_number: batchNumberSchema.optional(),
  trace_number: traceNumberSchema.optional(),
  business_date: z.iso.date({ message: 'must be a date', abort: true }).refine(inRange, RANGE).optional(),
  limit: integer(200n)
    .default(50n)
    .meta({ description: '1 to 200.', examples: ['50'] }),
  starting_after: idSchema('ord').optional().meta({ description: "The last page's `next_cursor`." }),
});

export type OrderFilters = z.infer<typeof orderFiltersSchema>;

/** Times and the business date bound the ids that are looked at; the exact comparison stays with the row. */
export function queryOf(filters: OrderFilters): OrderQuery {
  const createdGte = filters['created[gte]'];
  const createdLt = filters['created[lt]'];
  const day = filters.business_date === undefined ? undefined : Date.parse(filters.business_date);
  return {
    before: least([
      uuidIn('ord', filters.starting_after),
      createdLt === undefined ? undefined : lowestIdAt(Date.parse(createdLt) + ID_SLACK_MS),
      // A business date is at most a day and a time zone away from the calendar's.
      day === undefined ? undefined : lowestIdAt(day + 3 * DAY_MS),
    ]),
    from: greatest([
      createdGte === undefined ? undefined : lowestIdAt(Date.parse(createdGte) - ID_SLACK_MS),
      day === undefined ? undefined : lowestIdAt(day - 2 * DAY_MS),
    ]),
    // PostgreSQL knows fewer offsets than RFC 3339.
    createdGte: createdGte === undefined ? undefined : new Date(createdGte).toISOString(),
    createdLt: createdLt === undefined ? undefined : new Date(createdLt).toISOString(),
    equal: given({
      status: filters.status,
      channel: filters.channel,
      terminal_id: uuidIn('trm', filters.terminal),
      merchant_reference: filters.merchant_reference,
      card_last_four: filters.card_last_four,
      amount: filters.amount?.toString(),
      batch_number: filters.batch_number,
      trace_number: filters.trace_number,
      business_date: filters.business_date,
    }),
  };
}

function uuidIn(prefix: 'ord' | 'trm', id: string | undefined): string | undefined {
  return id === undefined ? undefined : uuidOf(prefix, id);
}

function given(values: Record<FilterColumn, string | undefined>): OrderQuery['equal'] {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** Lower-case hyphenated UUIDs sort as text exactly as they sort as uuid. */
function least(ids: readonly (string | undefined)[]): string | undefined {
  return ids.filter((id) => id !== undefined).sort()[0];
}

function greatest(ids: readonly (string | undefined)[]): string | undefined {
  return ids
    .filter((id) => id !== undefined)
    .sort()
    .at(-1);
}
