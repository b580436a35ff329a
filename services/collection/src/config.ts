// The only reader of the environment: BALLAST_CONFIG names one JSON file.
import { channelsFileSchema } from '@ballast/channels';
import { HISTORY_DAYS } from '@ballast/contracts';
import { listenSchema } from '@ballast/http';
import { readConfigFile } from '@ballast/telemetry';
import { z } from 'zod';
import { LONGEST_VOID_WINDOW_DAYS } from './cards/vault.ts';

const key = z.base64().refine((text) => Buffer.from(text, 'base64').length === 32, 'must be 32 bytes in base64');

const fields = z.strictObject({
  /** Seen in logs, metrics and leases; unique among instances. */
  instance: z.string().regex(/^[a-z0-9-]{1,32}$/),
  listen: listenSchema,
  internal: listenSchema,
  database_url: z.url(),
  /** Last known rules are kept here. */
  state_dir: z.string().min(1),
  keys: z.strictObject({
    current: z.string(),
    keys: z.record(z.string().regex(/^[a-z0-9-]{1,32}$/), key),
    fingerprint: key,
  }),
  admin_token: z.string().min(16),
  /** Without a synchronous standby a lost disk loses acknowledged payments: production refuses to start unless accepted. */
  single_machine: z.literal('accepted').optional(),
  channels: channelsFileSchema.min(1),
  /** A day's orders, attempts and journal are dropped together after this, when nobody needs them any more. */
  kept_days: z.int().min(31).max(4_000).default(HISTORY_DAYS),
  /** How long after the window for a void a refund is possible; then the card numbers are erased. */
  refund_window_days: z.int().min(1).max(3_650).default(180),
  /** The same card, amount and terminal again within this time, under another key: the terminal is asked; 0: never. */
  duplicate_window_ms: z.int().min(0).max(600_000).default(0),
  control_database_url: z.url().optional(),
  /** Alarms are POSTed there, besides the log. */
  alarm_webhook_url: z.url({ protocol: /^https?$/ }).optional(),
  log_level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

const schema = fields.refine(
  ({ kept_days: kept, refund_window_days: refund }) => kept > refund + LONGEST_VOID_WINDOW_DAYS,
  {
    path: ['kept_days'],
    message: 'must be more than a week longer than refund_window_days: what can be refunded must be kept',
  },
);

export type Config = z.infer<typeof schema>;

export function readConfig(): Config {
  return readConfigFile('collection', process.env['BALLAST_CONFIG'], schema);
}
