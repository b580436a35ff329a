// What is with a person, on the internal face: the list with its evidence, and the two things a person can do.
import { idSchema, publicId, uuidOf, wordsSchema } from '@ballast/contracts';
import { type App, problemReplies, requireBearer } from '@ballast/http';
import { z } from 'zod';
import type { PaymentsCore } from '../payments/core.ts';
import { openCases, type PersonCase } from '../payments/persons.sql.ts';
import { provenOutcomes, settleByProof } from '../payments/settle-by-proof.ts';
import { tryAgain } from '../payments/try-again.ts';

const params = z.strictObject({ id: idSchema('ord') });
const by = wordsSchema(100).meta({ description: 'Who decides; kept with the case.' });
const problemsOf = problemReplies('api_key_invalid', 'invalid_request', 'not_with_person', 'proof_does_not_fit');

export function personsRoutes(app: App, core: PaymentsCore, adminToken: string): void {
  const onRequest = requireBearer(adminToken);

  app.get(
    '/admin/persons',
    {
      onRequest,
      schema: {
        querystring: z.strictObject({ limit: z.coerce.number().int().min(1).max(200).default(50) }),
        response: problemsOf,
      },
    },
    async ({ query }) => {
      const cases = await openCases(core.knex, query.limit + 1);
      return { data: cases.slice(0, query.limit).map(caseBody), has_more: cases.length > query.limit };
    },
  );

  app.post(
    '/admin/persons/:id/try-again',
    {
      onRequest,
      schema: { params, body: z.strictObject({ merchant_id: idSchema('mer'), by }), response: problemsOf },
    },
    async ({ params: { id }, body }, reply) => {
      await tryAgain(core, { ...placeOf(id, body.merchant_id), by: body.by });
      return reply.code(202).send({ order_id: id, decided: 'try_again' });
    },
  );

  app.post(
    '/admin/persons/:id/settle',
    {
      onRequest,
      schema: {
        params,
        body: z.strictObject({
          merchant_id: idSchema('mer'),
          by,
          outcome: z.enum(provenOutcomes),
          proof: wordsSchema(1_000).meta({ description: 'What the bank wrote, and where to find it.' }),
        }),
        response: problemsOf,
      },
    },
    async ({ params: { id }, body }) => {
      const { by: person, outcome, proof } = body;
      await settleByProof(core, { ...placeOf(id, body.merchant_id), by: person, outcome, proof });
      return { order_id: id, decided: outcome };
    },
  );
}

/** The schemas have looked at their form already. */
function placeOf(orderId: string, merchantId: string) {
  return { orderId: uuidOf('ord', orderId) ?? '', merchantId: uuidOf('mer', merchantId) ?? '' };
}

function caseBody(one: PersonCase) {
  return {
    order_id: publicId('ord', one.order_id),
    merchant_id: publicId('mer', one.merchant_id),
    attempt: one.attempt_no,
    channel: one.channel,
    bank_reference: one.bank_reference,
    amount: Number(one.amount),
    currency: one.currency,
    order_status: one.order_status,
    reason: one.reason,
    evidence: one.evidence,
    opened_at: one.opened_at,
    // What the bank refused is final for collection: a person confirms that it was seen. What reaches no bank is being tried.
    actions: one.attempt_state === 'needs_person' ? ['try-again', 'settle'] : ['settle'],
  };
}
