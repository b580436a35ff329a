// The only reader of the environment.
import { readFileSync } from 'node:fs';
import { listenSchema } from '@ballast/http';
import { z } from 'zod';

const name = z.string().regex(/^[a-z0-9_-]{1,40}$/);

const schema = z.strictObject({
  /** Two forwarders of one source have different ones. */
  instance: name,
  internal: listenSchema,
  /** Forwarding's own database: who leads, and how far each subscriber is. */
  database_url: z.string().min(1),
  sources: z
    .array(
      z.strictObject({
        name,
        database_url: z.string().min(1),
        slot: z.string().regex(/^[a-z0-9_]{1,63}$/),
        publication: z.string().min(1),
      }),
    )
    .min(1),
  subscribers: z.array(z.strictObject({ name, url: z.url(), token: z.string().min(1) })).min(1),
  admin_token: z.string().min(1),
  log_level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

export type ForwardingConfig = Readonly<z.infer<typeof schema>>;

export function readConfig(): ForwardingConfig {
  const file = process.env['BALLAST_CONFIG'];
  if (file === undefined) throw new Error('BALLAST_CONFIG must name the configuration file');
  return Object.freeze(schema.parse(JSON.parse(readFileSync(file, 'utf8'))));
}
