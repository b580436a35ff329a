// What forwarding says of itself on its internal face.
import { z } from 'zod';
import { adminCall } from './admin-call.ts';
import { type RunFile, readCredentials } from './run-file.ts';

/** Loose: forwarding may say more than is shown here. */
const schema = z.object({
  subscribers: z.array(
    z.object({
      subscriber: z.string(),
      state: z.string(),
      route: z.string(),
      lag_seconds: z.number(),
      pending_events: z.number().nullable(),
      last_error: z.string().nullable(),
    }),
  ),
  sources: z.array(z.object({ source: z.string(), state: z.string(), reason: z.string().nullable() })),
});
export type ForwardingSeen = z.infer<typeof schema>;

/** Undefined: it was not started, or does not answer (its health says why). */
export async function lookAtForwarding(run: RunFile): Promise<ForwardingSeen | undefined> {
  const { forwarding } = run.services;
  if (forwarding === undefined) return undefined;
  const { admin_token: token } = readCredentials(run);
  const reply = await adminCall('GET', `${forwarding.internal_url}/admin/subscribers`, { token, limitMs: 2_000 }).catch(
    () => undefined,
  );
  return reply === undefined ? undefined : schema.parse(reply);
}
