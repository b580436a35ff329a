// What refund asks of collection, on the internal face: close an order's window, so that no void can undo it any more.
import { idSchema, Problem, uuidOf } from '@ballast/contracts';
import { type App, problemReplies, requireBearer } from '@ballast/http';
import { childTraceparent } from '@ballast/telemetry';
import { z } from 'zod';
import { closeWindow } from '../payments/close-window.ts';
import type { PaymentsCore } from '../payments/core.ts';

export function windowsRoutes(app: App, core: PaymentsCore, adminToken: string): void {
  app.post(
    '/admin/orders/:id/close-window',
    {
      onRequest: requireBearer(adminToken),
      schema: {
        params: z.strictObject({ id: idSchema('ord') }),
        body: z.strictObject({ merchant_id: idSchema('mer') }),
        response: problemReplies('api_key_invalid', 'invalid_request', 'not_found'),
      },
    },
    async ({ params, body, headers }) => {
      const { traceparent } = headers;
      const reply = await closeWindow(
        core,
        uuidOf('mer', body.merchant_id) ?? '',
        uuidOf('ord', params.id) ?? '',
        childTraceparent(typeof traceparent === 'string' ? traceparent : undefined),
      );
      if (reply === null) throw new Problem('not_found', 'This merchant has no such order.');
      return { order_id: params.id, ...reply };
    },
  );
}
