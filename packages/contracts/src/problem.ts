// The one catalogue of errors (RFC 9457). Codes are never reused or renamed. Each answers two questions:
// may the same request be sent again, and was money moved?
import { z } from 'zod';

interface CatalogueEntry {
  readonly status: number;
  readonly title: string;
  readonly retryable: boolean;
  /**
   * 'no': nothing left for a bank, whenever the same request was sent. 'see_order': the order says, the one named in the
   * problem or that of the number; also wherever it is not looked whether an earlier sending was taken.
   */
  readonly moneyMoved: 'no' | 'see_order';
}

export const problems = {
  malformed_request: {
    status: 400,
    title: 'These bytes are not a valid HTTP request',
    retryable: false,
    moneyMoved: 'see_order', // also of a request that came too slowly this time
  },
  malformed_body: { status: 400, title: 'The body is not valid JSON', retryable: false, moneyMoved: 'no' },
  invalid_request: { status: 422, title: 'A field is missing or wrong', retryable: false, moneyMoved: 'no' },
  invalid_parameter: {
    status: 400,
    title: 'A parameter or header is missing or wrong',
    retryable: false,
    moneyMoved: 'no',
  },
  idempotency_key_required: { status: 400, title: 'Idempotency-Key is required', retryable: false, moneyMoved: 'no' },
  too_old: {
    status: 422,
    title: 'The transaction time is outside what is accepted',
    retryable: false,
    moneyMoved: 'see_order', // an earlier sending may have been taken, and forgotten since
  },
  // Who asks is not known yet. The very same bytes may have been taken before: within the window, while the key was live.
  signature_missing: { status: 401, title: 'The request is not signed', retryable: false, moneyMoved: 'see_order' },
  signature_invalid: { status: 401, title: 'The signature is wrong', retryable: false, moneyMoved: 'see_order' },
  clock_skew: { status: 401, title: 'The timestamp is outside the window', retryable: true, moneyMoved: 'see_order' },
  api_key_invalid: { status: 401, title: 'The API key is missing or wrong', retryable: false, moneyMoved: 'no' },
  forbidden: { status: 403, title: 'Not allowed', retryable: false, moneyMoved: 'no' },
  not_found: { status: 404, title: 'There is no such thing', retryable: false, moneyMoved: 'no' },
  // Its commit may be on its way, or its key forgotten after seven days while the order is there.
  payment_unknown: {
    status: 404,
    title: 'No such payment of this terminal is known now',
    retryable: true,
    moneyMoved: 'see_order',
  },
  method_not_allowed: { status: 405, title: 'The method is not allowed here', retryable: false, moneyMoved: 'no' },
  body_too_large: { status: 413, title: 'The body is too large', retryable: false, moneyMoved: 'no' },
  unsupported_media_type: {
    status: 415,
    title: 'The content type is not supported',
    retryable: false,
    moneyMoved: 'no',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'The key belongs to another request',
    retryable: false,
    moneyMoved: 'see_order',
  },
  trace_number_reused: {
    status: 422,
    title: 'The trace number belongs to another request',
    retryable: false,
    moneyMoved: 'see_order',
  },
  still_processing: {
    status: 409,
    title: 'The first request is still running',
    retryable: true,
    moneyMoved: 'see_order',
  },
  suspected_duplicate: {
    status: 409,
    title: 'A payment like this was made a moment ago',
    retryable: false,
    moneyMoved: 'no',
  },
  not_voidable: { status: 409, title: 'The order can no longer be voided', retryable: false, moneyMoved: 'see_order' },
  not_with_person: {
    status: 409,
    title: 'Nothing of the order is with a person',
    retryable: false,
    moneyMoved: 'see_order',
  },
  proof_does_not_fit: {
    status: 409,
    title: 'The order cannot be settled so',
    retryable: false,
    moneyMoved: 'see_order',
  },
  currency_not_enabled: {
    status: 422,
    title: 'The currency is not enabled for this merchant',
    retryable: false,
    moneyMoved: 'no',
  },
  no_channel: { status: 422, title: 'No channel takes this payment', retryable: false, moneyMoved: 'no' },
  already_exists: { status: 409, title: 'It exists already', retryable: false, moneyMoved: 'no' },
  reader_heard_of: { status: 409, title: 'The reader was heard of a moment ago', retryable: false, moneyMoved: 'no' },
  channel_refused: { status: 503, title: 'The channel is closed or limited', retryable: true, moneyMoved: 'no' },
  // These two are said without a look at the key: this sending stored nothing, an earlier one may have been taken.
  rate_limited: { status: 429, title: 'Too many requests', retryable: true, moneyMoved: 'see_order' },
  overloaded: { status: 503, title: 'Too busy to take the request', retryable: true, moneyMoved: 'see_order' },
  database_unavailable: { status: 503, title: 'The database did not answer', retryable: true, moneyMoved: 'see_order' },
  internal: { status: 500, title: 'Something broke on our side', retryable: true, moneyMoved: 'see_order' },
} as const satisfies Record<string, CatalogueEntry>;

export type ProblemCode = keyof typeof problems;

export interface FieldError {
  /** JSON pointer into the body, or the header's or parameter's name. */
  readonly pointer: string;
  readonly detail: string;
}

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string(),
    code: z.enum(Object.keys(problems) as [ProblemCode, ...ProblemCode[]]),
    retryable: z.boolean(),
    money_moved: z.enum(['no', 'see_order']),
    request_id: z.string(),
    order_id: z.string().optional(),
    errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
  })
  .meta({ id: 'Problem' });

export type ProblemBody = z.infer<typeof problemSchema>;

/** Thrown by verbs and routes; the HTTP edge turns it into problem+json. `detail` is shown to the client. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly errors: readonly FieldError[];
  readonly orderId: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ProblemCode,
    detail: string,
    extra: { errors?: readonly FieldError[]; orderId?: string; retryAfterSeconds?: number; cause?: unknown } = {},
  ) {
    super(detail, { cause: extra.cause });
    this.name = 'Problem';
    this.code = code;
    this.errors = extra.errors ?? [];
    this.orderId = extra.orderId;
    this.retryAfterSeconds = extra.retryAfterSeconds;
  }

  get status(): number {
    return problems[this.code].status;
  }

  /** The problem+json body. `instance` is the request's path without its query. */
  toBody(instance: string, requestId: string): ProblemBody {
    const { status, title, retryable, moneyMoved } = problems[this.code];
    return {
      type: `/docs/problems#${this.code}`,
      title,
      status,
      detail: this.message,
      instance,
      code: this.code,
      retryable,
      money_moved: moneyMoved,
      request_id: requestId,
      ...(this.orderId === undefined ? {} : { order_id: this.orderId }),
      ...(this.errors.length === 0 ? {} : { errors: [...this.errors] }),
    };
  }
}
