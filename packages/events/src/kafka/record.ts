// Messages as Kafka records and back: CloudEvents 1.0 in binary mode. The attributes are headers, the value is the
// journal's own JSON text, byte for byte. `traceparent` stands without the prefix, where tracing tools look for it.
import { cloudEventType, type OrderEventType, type Watermark } from '@ballast/contracts';

/** A row of the journal as it came out of the log: `data` is JSON text, never parsed on its way. */
export interface OutgoingEvent {
  readonly kind: 'event';
  readonly id: string;
  readonly source: string;
  readonly generation: number;
  readonly type: OrderEventType;
  readonly order_id: string;
  readonly version: number;
  readonly livemode: boolean;
  readonly occurred_at: string;
  readonly traceparent: string | null;
  readonly data: string | Buffer;
}

export type OutgoingMessage = OutgoingEvent | Watermark;

export interface OutgoingRecord {
  readonly key: string | null;
  readonly value: string | Buffer;
  readonly headers: Record<string, string>;
}

/** What a client hands over of a record it read. */
export interface IncomingRecord {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers?: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>> | undefined;
}

const WATERMARK_TYPE = 'ballast.watermark.v1';
const EVENT_TYPE = /^ballast\.order\.([a-z_]+)\.v1$/;

export function eventRecord(event: OutgoingEvent): OutgoingRecord {
  const headers: Record<string, string> = {
    ce_specversion: '1.0',
    ce_id: event.id,
    ce_type: cloudEventType(event.type),
    ce_source: event.source,
    ce_subject: event.order_id,
    ce_time: event.occurred_at,
    ce_sequence: String(event.version),
    ce_generation: String(event.generation),
    ce_livemode: event.livemode ? 'true' : 'false',
  };
  if (event.traceparent !== null) headers['traceparent'] = event.traceparent;
  return { key: event.order_id, value: event.data, headers };
}

/** Without a key: it speaks of a whole database, and goes to every partition. */
export function watermarkRecord({ source, generation, node, value }: Watermark): OutgoingRecord {
  return {
    key: null,
    value: JSON.stringify({ node, value }),
    headers: {
      ce_specversion: '1.0',
      ce_id: `${node}:${value}`,
      ce_type: WATERMARK_TYPE,
      ce_source: source,
      ce_time: value,
      ce_generation: String(generation),
    },
  };
}

/**
 * The message in a record, of the shape that a direct delivery has; the consumer judges its content. Undefined: this is
 * no record of ours. Text that is no JSON is handed on as text, so that it is parked under its order.
 */
export function messageOf(record: IncomingRecord): unknown {
  const { headers, value } = record;
  const header = (name: string): string | undefined => headers?.[name]?.toString();
  const type = header('ce_type') ?? '';
  const source = header('ce_source');
  const generation = Number(header('ce_generation'));
  if (value === null || source === undefined || !Number.isInteger(generation)) return undefined;
  if (type === WATERMARK_TYPE) {
    const content = parsed(value);
    if (typeof content !== 'object' || content === null) return undefined;
    return { ...content, kind: 'watermark', source, generation };
  }
  const event = EVENT_TYPE.exec(type)?.[1];
  const version = Number(header('ce_sequence'));
  if (event === undefined || !Number.isInteger(version)) return undefined;
  const data = parsed(value);
  return {
    kind: 'event',
    id: header('ce_id'),
    source,
    generation,
    type: event,
    order_id: record.key?.toString(),
    merchant_id: typeof data === 'object' && data !== null && 'merchant_id' in data ? data.merchant_id : undefined,
    version,
    livemode: header('ce_livemode') === 'true',
    occurred_at: header('ce_time'),
    traceparent: header('traceparent') ?? null,
    data,
  };
}

function parsed(value: Buffer): unknown {
  const text = value.toString();
  try {
    return JSON.parse(text);
  } catch {
    return text; // its reader refuses it, with its place known
  }
}
