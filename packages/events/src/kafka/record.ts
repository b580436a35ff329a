// Messages as Kafka records and back: CloudEvents 1.0 in binary mode. The attributes are headers, the value is the
// journal's own JSON text, byte for byte. `traceparent` stands without the prefix, where tracing tools look for it.
import { cloudEventType, type OrderEventType, type Watermark, watermarkSchema } from '@ballast/contracts';
import { z } from 'zod';

/** A row of the journal as it came out of the log: `data` is JSON text, never parsed on its way. */
export interface OutgoingEvent {
  readonly kind: 'event';
  readonly id: string;
  readonly source: string;
  readonly generation: number;
  readonly type: OrderEventType;
  readonly order_id: string;
  readonly merchant_id: string;
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
  readonly headers: readonly (readonly [name: string, text: string])[];
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
  const headers: [string, string][] = [
    ['ce_specversion', '1.0'],
    ['ce_id', event.id],
    ['ce_type', cloudEventType(event.type)],
    ['ce_source', event.source],
    ['ce_subject', event.order_id],
    ['ce_time', event.occurred_at],
    ['ce_sequence', String(event.version)],
    ['ce_generation', String(event.generation)],
    ['ce_merchantid', event.merchant_id],
    ['ce_livemode', event.livemode ? 'true' : 'false'],
    ['content-type', 'application/json'],
  ];
  if (event.traceparent !== null) headers.push(['traceparent', event.traceparent]);
  return { key: event.order_id, value: event.data, headers };
}

/** Without a key: it speaks of a whole database, and goes to every partition. */
export function watermarkRecord(mark: Watermark): OutgoingRecord {
  const { source, generation, node, value, run, after, since, replaced } = mark;
  return {
    key: null,
    value: JSON.stringify({ node, value, run, after, since, replaced }),
    headers: [
      ['ce_specversion', '1.0'],
      ['ce_id', `${node}:${value}`],
      ['ce_type', WATERMARK_TYPE],
      ['ce_source', source],
      ['ce_time', value],
      ['ce_generation', String(generation)],
      ['content-type', 'application/json'],
    ],
  };
}

/**
 * The message in a record, of the shape that a direct delivery has. Undefined: this is no record of ours, and nothing that
 * the consumer could park under an order. Content that is wrong, even no JSON, is the consumer's to judge.
 */
export function messageOf(record: IncomingRecord): { readonly kind: string } | undefined {
  const { headers, value } = record;
  const header = (name: string): string | undefined => headers?.[name]?.toString();
  const source = header('ce_source');
  const generation = Number(header('ce_generation'));
  if (value === null || source === undefined || !isName(source) || !isCount(generation)) return undefined;
  const type = header('ce_type') ?? '';
  if (type === WATERMARK_TYPE) {
    const mark = watermarkSchema.safeParse({ ...asObject(parsed(value)), kind: 'watermark', source, generation }).data;
    return mark !== undefined && canBeKept(mark) ? mark : undefined;
  }
  const event = {
    kind: 'event',
    id: header('ce_id'),
    source,
    generation,
    type: EVENT_TYPE.exec(type)?.[1],
    order_id: record.key?.toString(),
    merchant_id: header('ce_merchantid'),
    version: Number(header('ce_sequence')),
    livemode: header('ce_livemode') === 'true',
    occurred_at: header('ce_time'),
    traceparent: header('traceparent') ?? null,
    data: parsed(value),
  };
  const { id, type: kind, order_id, merchant_id, version, occurred_at } = event;
  const placed = isCount(version) && uuid.safeParse(order_id).success && uuid.safeParse(merchant_id).success;
  return placed && id !== undefined && kind !== undefined && occurred_at !== undefined ? event : undefined;
}

const uuid = z.uuid();

/** What the consumer's tables hold of a record's place. Beyond it nothing could be stored of it, not even that it is wrong. */
const MOST_COUNTED = 2_147_483_647;
const LONGEST_NAME = 200;

function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= MOST_COUNTED;
}

function isName(text: string): boolean {
  return text.length <= LONGEST_NAME && !text.includes('\0');
}

/** A watermark has no order under which it could be parked. */
function canBeKept({ node, value, after, since, replaced }: Watermark): boolean {
  const times = [value, after, since, ...replaced.map(({ from }) => from)];
  return isName(node) && times.every(isTime) && replaced.every(({ generation }) => isCount(generation));
}

/** The contract looks at the form; there is no 30th of February. */
function isTime(text: string | null): boolean {
  if (text === null) return true;
  const at = new Date(text);
  return at.getTime() >= 0 && at.toISOString().slice(0, -1) === text.slice(0, -4);
}

function asObject(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}

function parsed(value: Buffer): unknown {
  const text = value.toString();
  try {
    return JSON.parse(text);
  } catch {
    return text; // its reader refuses it, with its place known
  }
}
