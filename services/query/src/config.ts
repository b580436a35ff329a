// The only reader of the environment: BALLAST_CONFIG names one JSON file.
import { HISTORY_DAYS } from '@ballast/contracts';
import { kafkaConnectionSchema } from '@ballast/events/kafka';
import { listenSchema } from '@ballast/http';
import { readConfigFile } from '@ballast/telemetry';
import { z } from 'zod';

const fields = z.strictObject({
  /** Seen in logs, metrics and rebuilds; unique among instances. */
  instance: z.string().regex(/^[a-z0-9-]{1,32}$/),
  listen: listenSchema,
  internal: listenSchema,
  database_url: z.url(),
  delivery_token: z.string().min(16),
  admin_token: z.string().min(16),
  /** Forwarding's internal face, which replays the journal for a rebuild. Without it there is no rebuild. */
  forwarding_url: z.url().optional(),
  forwarding_admin_token: z.string().min(16).optional(),
  /** Events are taken from its topic; without it forwarding delivers them directly. Needs forwarding_url, for gaps. */
  kafka: kafkaConnectionSchema.optional(),
  /** As long as the order database keeps its own: what is older is forgotten, week by week. */
  retention_days: z.int().min(7).max(4_000).default(HISTORY_DAYS),
  /** Alarms are POSTed there, besides the log. */
  alarm_webhook_url: z.url({ protocol: /^https?$/ }).optional(),
  log_level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

const schema = fields.refine(({ kafka, forwarding_url: url }) => kafka === undefined || url !== undefined, {
  path: ['forwarding_url'],
  message: 'is needed with kafka: gaps are reported there',
});

export type Config = z.infer<typeof schema>;

export function readConfig(): Config {
  return readConfigFile('query', process.env['BALLAST_CONFIG'], schema);
}
