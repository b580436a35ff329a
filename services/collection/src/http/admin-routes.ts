// Merchants, terminals, their keys and routes: on the internal face, for operators and provisioning. PUT is idempotent:
// the caller chooses the id.
import { currencySchema, idSchema, Problem, publicId, textSchema, uuidOf, wordsSchema } from '@ballast/contracts';
import { type App, problemReplies, requireBearer } from '@ballast/http';
import { z } from 'zod';
import type { Provisioning } from '../merchants/provision.ts';

const merchantParams = z.strictObject({ id: idSchema('mer') });
const terminalParams = z.strictObject({ id: idSchema('trm') });

const merchantSchema = z.strictObject({
  name: wordsSchema(200),
  time_zone: textSchema(64).refine(isTimeZone, 'is not an IANA time zone'),
  cutover: z.string().regex(/^([01][0-9]|2[0-3]):[0-5][0-9]$/, 'must be HH:MM'),
  currencies: z.array(currencySchema).min(1).max(30),
  void_window_seconds: z.int().min(0).max(604_800),
});

const routeSchema = z.strictObject({
  channel: textSchema(32),
  method: z.enum(['card', 'code']),
  currency: currencySchema.nullable().default(null),
  bin_prefix: z
    .string()
    .regex(/^[0-9]{1,8}$/, 'must be 1 to 8 digits')
    .nullable()
    .default(null),
  weight: z.int().min(0).max(1_000_000).default(1),
  merchant_number: textSchema(32),
  terminal_number: textSchema(32),
});

const problemsOf = problemReplies(
  'api_key_invalid',
  'invalid_request',
  'invalid_parameter',
  'not_found',
  'already_exists',
);

export function adminRoutes(app: App, provisioning: Provisioning, adminToken: string): void {
  const onRequest = requireBearer(adminToken);

  app.put(
    '/admin/merchants/:id',
    { onRequest, schema: { params: merchantParams, body: merchantSchema, response: problemsOf } },
    async ({ params, body }) => {
      await provisioning.putMerchant({
        merchantId: uuid('mer', params.id),
        name: body.name,
        timeZone: body.time_zone,
        cutover: body.cutover,
        currencies: body.currencies,
        voidWindowSeconds: body.void_window_seconds,
      });
      return { merchant_id: params.id, ...body };
    },
  );

  app.put(
    '/admin/merchants/:id/routes',
    {
      onRequest,
      schema: {
        params: merchantParams,
        body: z.strictObject({ routes: z.array(routeSchema).max(200) }),
        response: problemsOf,
      },
    },
    async ({ params, body }) => {
      await provisioning.putRoutes(
        uuid('mer', params.id),
        body.routes.map((route) => ({
          channel: route.channel,
          method: route.method,
          currency: route.currency,
          binPrefix: route.bin_prefix,
          weight: route.weight,
          merchantNumber: route.merchant_number,
          terminalNumber: route.terminal_number,
        })),
      );
      return body;
    },
  );

  app.get(
    '/admin/merchants',
    {
      onRequest,
      schema: {
        querystring: z.strictObject({
          limit: z.coerce.number().int().min(1).max(200).default(50),
          starting_after: idSchema('mer').optional(),
        }),
        response: problemsOf,
      },
    },
    async ({ query }) => {
      const after = query.starting_after === undefined ? undefined : uuid('mer', query.starting_after);
      const rows = await provisioning.listMerchants(after, query.limit + 1);
      const data = rows.slice(0, query.limit).map(merchantBody);
      return {
        data,
        has_more: rows.length > query.limit,
        next_cursor: rows.length > query.limit ? data.at(-1)?.merchant_id : null,
      };
    },
  );

  app.get(
    '/admin/merchants/:id',
    { onRequest, schema: { params: merchantParams, response: problemsOf } },
    async ({ params }) => {
      const merchant = await provisioning.findMerchant(uuid('mer', params.id));
      if (merchant === undefined) throw new Problem('not_found', 'There is no such merchant.');
      return {
        ...merchantBody(merchant),
        routes: merchant.routes.map(({ binPrefix, merchantNumber, terminalNumber, ...route }) => ({
          ...route,
          bin_prefix: binPrefix,
          merchant_number: merchantNumber,
          terminal_number: terminalNumber,
        })),
      };
    },
  );

  app.put(
    '/admin/terminals/:id',
    {
      onRequest,
      schema: {
        params: terminalParams,
        body: z.strictObject({ merchant_id: idSchema('mer'), name: wordsSchema(100) }),
        response: problemsOf,
      },
    },
    async ({ params, body }) => {
      await provisioning.putTerminal({
        terminalId: uuid('trm', params.id),
        merchantId: uuid('mer', body.merchant_id),
        name: body.name,
      });
      return { terminal_id: params.id, ...body };
    },
  );

  app.post(
    '/admin/terminals/:id/keys',
    {
      onRequest,
      schema: { params: terminalParams, body: z.strictObject({ livemode: z.boolean() }), response: problemsOf },
    },
    async ({ params, body }, reply) => {
      const { keyId, secret } = await provisioning.issueKey(uuid('trm', params.id), body.livemode);
      reply.code(201).header('cache-control', 'no-store');
      return { key_id: keyId, secret, livemode: body.livemode };
    },
  );

  app.delete(
    '/admin/terminals/:id/keys/:key_id',
    { onRequest, schema: { params: terminalParams.extend({ key_id: textSchema(64) }), response: problemsOf } },
    async ({ params }, reply) => {
      await provisioning.revokeKey(uuid('trm', params.id), params.key_id);
      return reply.code(204).send();
    },
  );
}

function merchantBody(row: Awaited<ReturnType<Provisioning['listMerchants']>>[number]) {
  const { merchant_id, name, time_zone, cutover, currencies, void_window_seconds } = row;
  return { merchant_id: publicId('mer', merchant_id), name, time_zone, cutover, currencies, void_window_seconds };
}

/** The schema has looked at its form already. */
function uuid(prefix: 'mer' | 'trm', id: string): string {
  return uuidOf(prefix, id) ?? '';
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }) !== undefined;
  } catch {
    return false; // RangeError: the zone is not known
  }
}
