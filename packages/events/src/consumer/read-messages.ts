// From what came over a wire to typed messages. An event whose envelope is right but whose content is not keeps its
// place in its order and is parked there; anything else refuses the whole delivery: its sender is broken.
import { type OrderEvent, orderEventSchema, Problem, type Watermark, watermarkSchema } from '@ballast/contracts';
import { z } from 'zod';

export interface ReadMessages {
  readonly events: readonly OrderEvent[];
  /** Why an event of `events` cannot be applied as it is. */
  readonly unreadable: ReadonlyMap<OrderEvent, string>;
  /** In the order in which they came: each says which one stands before it. */
  readonly watermarks: readonly ReceivedWatermark[];
}

/** The way that a message came on: one partition of a topic, or the direct route. */
export interface Stream {
  /** A topic's name, or `direct`. */
  readonly route: string;
  readonly partition: number;
  /** Of so many, over which everything is spread. */
  readonly partitions: number;
}

/** A topic's reader says where it read it; without that it came directly. */
export type ReceivedWatermark = Watermark & { readonly stream?: Stream | undefined };

const streamSchema = z.object({
  route: z.string(),
  partition: z.int().min(0),
  partitions: z.int().min(1),
});
const receivedSchema = watermarkSchema.extend({ stream: streamSchema.optional() });

const envelopeSchema = orderEventSchema.extend({ type: z.string(), data: z.unknown() });

export function readMessages(messages: readonly unknown[]): ReadMessages {
  const events: OrderEvent[] = [];
  const unreadable = new Map<OrderEvent, string>();
  const watermarks: ReceivedWatermark[] = [];
  for (const message of messages) {
    const event = orderEventSchema.safeParse(message);
    if (event.success) {
      events.push(event.data);
      continue;
    }
    const watermark = receivedSchema.safeParse(message);
    if (watermark.success) {
      watermarks.push(watermark.data);
      continue;
    }
    const envelope = envelopeSchema.safeParse(message);
    if (!envelope.success) throw new Problem('invalid_request', `a message cannot be read: ${why(event.error)}`);
    // Only parked, never applied: nobody reads `data` as an order's state.
    const kept = envelope.data as OrderEvent;
    events.push(kept);
    unreadable.set(kept, `does not match the contract: ${why(event.error)}`);
  }
  return { events, unreadable, watermarks };
}

function why(error: z.ZodError): string {
  return error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    .join('; ');
}
