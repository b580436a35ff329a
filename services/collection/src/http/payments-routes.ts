// What terminals call. Bodies and answers are the schemas of contracts; each route is one verb of payments/.
import { randomUUID } from 'node:crypto';
import {
  batchNumberSchema,
  heldVoidSchema,
  holdsCardData,
  idSchema,
  type PaymentMethod,
  Problem,
  paymentRequestSchema,
  paymentSchema,
  publicId,
  traceNumberSchema,
  uuidOf,
  voidRequestSchema,
} from '@ballast/contracts';
import { type App, problemReplies } from '@ballast/http';
import type { Inbound } from '@ballast/resilience';
import { childTraceparent } from '@ballast/telemetry';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { KnownKey } from '../merchants/directory.ts';
import type { PaymentsCore, Told } from '../payments/core.ts';
import { findPayment, findPaymentByTrace } from '../payments/find-payment.ts';
import { takePayment } from '../payments/take-payment.ts';
import { voidPayment } from '../payments/void-payment.ts';
import { admitted } from './admission.ts';

const DEFAULT_DEADLINE_MS = 15_000;
const LEAST_DEADLINE_MS = 2_000;
const LONGEST_DEADLINE_MS = 60_000;
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,128}$/;

const signedHeaders = z.looseObject({
  'ballast-terminal': z.string().optional().meta({ description: 'trm_… of the terminal.' }),
  'ballast-key-id': z.string().optional().meta({ description: 'Which of its keys signs; two may be live at once.' }),
  'ballast-timestamp': z.string().optional().meta({ description: 'Unix time, seconds; at most 5 minutes off.' }),
  'ballast-signature': z.string().optional().meta({ description: 'v1=<hex HMAC-SHA256>, as described at the top.' }),
});
const moneyHeaders = signedHeaders.extend({
  'idempotency-key': z.string().optional().meta({ description: 'Required. 1 to 128 visible ASCII characters.' }),
  'ballast-deadline-ms': z.string().optional().meta({ description: '2000 to 60000, from receipt; 15000 by default.' }),
});

const found = {
  200: paymentSchema.meta({ description: 'As it stands now; `answer` is what the terminal was finally told.' }),
  202: paymentSchema.meta({ description: 'Its question is open: ask again after Retry-After.' }),
};

const signatureProblems = ['signature_missing', 'signature_invalid', 'clock_skew'] as const;
const moneyProblems = [
  ...signatureProblems,
  'malformed_body',
  'idempotency_key_required',
  'invalid_parameter',
  'invalid_request',
  'idempotency_key_reused',
  'body_too_large',
  'unsupported_media_type',
  'rate_limited',
  'overloaded',
  'database_unavailable',
] as const;

export interface PaymentsRoutesOptions {
  readonly core: PaymentsCore;
  readonly inbound: Inbound;
  /** The signature check, a preValidation hook. */
  readonly signed: (request: FastifyRequest) => Promise<void>;
}

export function paymentsRoutes(app: App, { core, inbound, signed }: PaymentsRoutesOptions): void {
  app.post(
    '/v1/payments',
    {
      preValidation: signed,
      schema: {
        summary: 'Take a payment',
        tags: ['payments'],
        headers: moneyHeaders,
        body: paymentRequestSchema,
        response: {
          201: paymentSchema.meta({ description: 'Final: approved, declined, not_completed or cancelled.' }),
          202: paymentSchema.meta({ description: 'In doubt: ask again by GET.' }),
          ...problemReplies(
            ...moneyProblems,
            'too_old',
            'trace_number_reused',
            'still_processing',
            'suspected_duplicate',
            'currency_not_enabled',
            'no_channel',
            'channel_refused',
          ),
        },
      },
    },
    async (request, reply) => {
      refuseCardDataInHeaders(request, request.body.payment_method);
      const command = { ...signedBy(request), request: request.body, ...moneyTermsOf(request) };
      return tell(reply, await admitted(inbound, 'payments', { request, reply }, () => takePayment(core, command)));
    },
  );

  app.post(
    '/v1/voids',
    {
      preValidation: signed,
      schema: {
        summary: 'Void a payment, also before it arrived',
        tags: ['payments'],
        headers: moneyHeaders,
        body: voidRequestSchema,
        response: {
          200: z.union([paymentSchema, heldVoidSchema]).meta({
            description:
              'Nothing stands: no money moved, or it was returned; or no such payment is known, and its number is held.',
          }),
          202: paymentSchema.meta({ description: 'The payment is being returned; ask again by GET.' }),
          ...problemReplies(...moneyProblems, 'too_old', 'not_voidable', 'still_processing'),
        },
      },
    },
    async (request, reply) => {
      const { terminal, merchant } = signedBy(request);
      const command = { terminal, merchant, request: request.body, ...moneyTermsOf(request) };
      return tell(reply, await admitted(inbound, 'voids', { request, reply }, () => voidPayment(core, command)));
    },
  );

  app.get(
    '/v1/payments/:id',
    {
      preValidation: signed,
      schema: {
        summary: "What is known of one of the terminal's payments",
        tags: ['payments'],
        headers: signedHeaders,
        params: z.strictObject({ id: idSchema('ord') }),
        response: {
          ...found,
          ...problemReplies(...signatureProblems, 'payment_unknown', 'invalid_parameter'),
        },
      },
    },
    async (request, reply) => {
      const orderId = uuidOf('ord', request.params.id) ?? '';
      const { terminal } = signedBy(request);
      const find = () => findPayment(core, terminal, orderId);
      return tellFound(reply, await admitted(inbound, 'lookup', { request, reply }, find));
    },
  );

  app.get(
    '/v1/payments',
    {
      preValidation: signed,
      schema: {
        summary: "A payment by the terminal's own number",
        tags: ['payments'],
        headers: signedHeaders,
        querystring: z.strictObject({ batch_number: batchNumberSchema, trace_number: traceNumberSchema }),
        response: {
          ...found,
          ...problemReplies(...signatureProblems, 'payment_unknown', 'invalid_parameter'),
        },
      },
    },
    async (request, reply) => {
      const { batch_number: batch, trace_number: trace } = request.query;
      const { terminal } = signedBy(request);
      const find = () => findPaymentByTrace(core, terminal, batch, trace);
      return tellFound(reply, await admitted(inbound, 'lookup', { request, reply }, find));
    },
  );
}

function signedBy(request: FastifyRequest): KnownKey {
  if (request.signedBy === null) throw new Error('BUG: a route without the signature check');
  return request.signedBy;
}

/** Idempotency-Key, deadline and trace of a money POST. */
function moneyTermsOf(request: FastifyRequest) {
  const { 'idempotency-key': key, 'ballast-deadline-ms': deadline, traceparent } = request.headers;
  if (typeof key !== 'string' || key === '') {
    throw new Problem('idempotency_key_required', 'Idempotency-Key is required on every money POST.', {
      errors: [{ pointer: 'Idempotency-Key', detail: 'is missing' }],
    });
  }
  if (!IDEMPOTENCY_KEY.test(key)) {
    throw wrongHeader('Idempotency-Key', 'must be 1 to 128 visible ASCII characters');
  }
  const deadlineMs =
    deadline === undefined
      ? DEFAULT_DEADLINE_MS
      : /^[0-9]{1,6}$/.test(String(deadline))
        ? Number(deadline)
        : Number.NaN;
  if (!(deadlineMs >= LEAST_DEADLINE_MS && deadlineMs <= LONGEST_DEADLINE_MS)) {
    throw wrongHeader('Ballast-Deadline-Ms', `must be ${LEAST_DEADLINE_MS} to ${LONGEST_DEADLINE_MS}`);
  }
  return {
    idempotencyKey: key,
    deadlineMs,
    receivedAt: request.receivedAt,
    requestId: request.id,
    traceparent: childTraceparent(typeof traceparent === 'string' ? traceparent : undefined),
  };
}

/** What of a payment's headers is kept somewhere: the trace with the order, the request's id in the log. */
const KEPT_HEADERS = ['Idempotency-Key', 'X-Request-Id', 'traceparent'];

function refuseCardDataInHeaders(request: FastifyRequest, method: PaymentMethod): void {
  for (const name of KEPT_HEADERS) {
    const text = request.headers[name.toLowerCase()];
    if (typeof text !== 'string' || !holdsCardData(text, method)) continue;
    request.id = randomUUID(); // the refusal carries it, too
    throw wrongHeader(name, 'must not hold the card number, track or code of the payment');
  }
}

function wrongHeader(pointer: string, detail: string): Problem {
  return new Problem('invalid_parameter', `${pointer} ${detail}.`, { errors: [{ pointer, detail }] });
}

/** The body is JSON text already: a stored answer goes out byte for byte. */
function tell(reply: FastifyReply, told: Told) {
  reply.code(told.status).type('application/json; charset=utf-8');
  if (told.orderId !== null) reply.header('location', `/v1/payments/${publicId('ord', told.orderId)}`);
  if (told.retryAfterSeconds !== null) reply.header('retry-after', String(told.retryAfterSeconds));
  if (told.replayed) reply.header('idempotent-replayed', 'true');
  return reply.send(told.body);
}

function tellFound(reply: FastifyReply, told: Told | null) {
  if (told === null) throw new Problem('payment_unknown', 'No such payment of this terminal is known now.');
  return tell(reply, told);
}
