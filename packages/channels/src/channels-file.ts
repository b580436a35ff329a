// The file that says which channels there are: name, where the bank is, and what it promises.
import { z } from 'zod';

export const channelsFileSchema = z.array(
  z.strictObject({
    name: z.string().regex(/^[a-z0-9_]{1,32}$/, 'must be 1 to 32 of a-z, 0-9 and _'),
    url: z.url({ protocol: /^https?$/ }),
    livemode: z.boolean(),
    /** How long a request of ours may still turn up at the bank after it left. */
    horizon_ms: z.int().min(0).max(86_400_000),
    keeps_early_reversals: z.boolean().default(false),
    token: z.string().optional(),
    timeout_ms: z.int().min(100).max(60_000).default(10_000),
    /** What the bank wants its inquiries and reversals held to, each; 200 is as fast as they are paced. */
    paced_per_second: z.number().min(1).max(200).default(200),
  }),
);

export type ChannelEntry = z.infer<typeof channelsFileSchema>[number];
