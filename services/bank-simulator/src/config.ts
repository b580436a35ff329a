// The only reader of the environment.
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const schema = z.strictObject({
  banks: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[a-z0-9_]{1,32}$/),
        port: z.int().min(0).max(65535),
        books_dir: z.string().min(1),
        latency: z
          .strictObject({ p50_ms: z.number().min(0), p99_ms: z.number().min(0) })
          .default({ p50_ms: 0, p99_ms: 0 }),
        /** Share of references that are declined, chosen by the reference, so that a repeat gets the same answer. */
        decline_rate: z.number().min(0).max(1).default(0),
        livemode: z.boolean().default(false),
        keeps_early_reversals: z.boolean().default(false),
      }),
    )
    .min(1),
  admin_port: z.int().min(0).max(65535),
});

export type BankConfig = z.infer<typeof schema>['banks'][number];

export function readConfig() {
  const file = process.env['BALLAST_CONFIG'];
  if (file === undefined) throw new Error('BALLAST_CONFIG must name the configuration file');
  return Object.freeze(schema.parse(JSON.parse(readFileSync(file, 'utf8'))));
}
