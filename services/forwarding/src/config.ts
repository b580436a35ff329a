// The only reader of the environment.
import { kafkaConnectionSchema } from '@ballast/events/kafka';
import { listenSchema } from '@ballast/http';
import { readConfigFile } from '@ballast/telemetry';
import { z } from 'zod';
import { KAFKA } from './delivery/open-feeds.ts';

const name = z.string().regex(/^[a-z0-9_-]{1,40}$/);

const url = z.string().min(1);

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
        /** One, or those of a primary and its standbys: whichever is the primary is followed. */
        database_url: z.union([url.transform((one) => [one]), z.array(url).min(1)]),
        /** Without it a source that could lose in a failover what was forwarded is refused. */
        single_machine: z.literal('accepted').optional(),
        slot: z.string().regex(/^[a-z0-9_]{1,63}$/),
        publication: z.string().min(1),
      }),
    )
    .min(1),
  subscribers: z
    .array(
      z.strictObject({
        name: name.refine((it) => it !== KAFKA, `${KAFKA} is taken`),
        /** Its internal face. */
        url: z.url(),
        token: z.string().min(1),
        /** kafka: it consumes the topic, and is delivered to directly only while Kafka does not serve. */
        route: z.enum(['direct', 'kafka']).default('direct'),
      }),
    )
    .min(1),
  /** Without it the direct route serves everybody. */
  kafka: kafkaConnectionSchema
    .extend({
      /** Copies of every record, each on a broker of its own. */
      replicas: z.int().min(1).max(9).default(3),
    })
    .optional(),
  admin_token: z.string().min(1),
  log_level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

export type ForwardingConfig = Readonly<z.infer<typeof schema>>;

export function readConfig(): ForwardingConfig {
  return readConfigFile('forwarding', process.env['BALLAST_CONFIG'], schema);
}
