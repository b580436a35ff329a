// Which old days are held and by whom, on the internal face; and a reader that is gone for good, which holds them for ever.
import { Problem, textSchema, wordsSchema } from '@ballast/contracts';
import { type App, problemReplies, requireBearer } from '@ballast/http';
import { z } from 'zod';
import type { PaymentsCore } from '../payments/core.ts';
import { listReaders, reinstateReader, retireReader } from '../workers/journal-readers.sql.ts';
import type { PartitionsState } from '../workers/partitions.ts';

const bodySchema = z.strictObject({
  reader: textSchema(200).meta({ description: 'As GET /admin/days lists it: slot/subscriber.' }),
  by: wordsSchema(100),
  reason: wordsSchema(1_000),
});
const retireSchema = bodySchema.extend({
  force: z.boolean().default(false).meta({ description: 'Also one that was heard of within the hour.' }),
});
const problemsOf = problemReplies('api_key_invalid', 'invalid_request', 'not_found', 'reader_heard_of');

export function daysRoutes(app: App, { knex }: PaymentsCore, days: () => PartitionsState, adminToken: string): void {
  const onRequest = requireBearer(adminToken);

  app.get('/admin/days', { onRequest, schema: { response: problemsOf } }, async () => ({
    held: days().held,
    readers: await listReaders(knex),
  }));

  app.post(
    '/admin/days/retire-reader',
    { onRequest, schema: { body: retireSchema, response: problemsOf } },
    async ({ body }) => {
      const { reader, by: author, reason, force: forced } = body;
      const outcome = await retireReader(knex, { reader, author, reason, forced });
      if (outcome === 'unknown') throw new Problem('not_found', `There is no reader ${reader} that holds anything.`);
      if (outcome === 'heard of')
        throw new Problem('reader_heard_of', `${reader} is still being delivered to: take it out of forwarding first.`);
      return { reader, retired: true };
    },
  );

  app.post(
    '/admin/days/reinstate-reader',
    { onRequest, schema: { body: bodySchema, response: problemsOf } },
    async ({ body }) => {
      const { reader, by: author, reason } = body;
      if (!(await reinstateReader(knex, { reader, author, reason })))
        throw new Problem('not_found', `There is no reader ${reader} that was retired.`);
      return { reader, retired: false };
    },
  );
}
