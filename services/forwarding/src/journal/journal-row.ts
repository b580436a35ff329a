// A row of the journal as text values, from the log or from a query, becomes a message. `data` stays the text PostgreSQL
// wrote: on its way through here it is neither parsed nor formatted again.
import type { Watermark } from '@ballast/contracts';
import type { OutgoingEvent } from '@ballast/events/kafka';
import type { LogValue } from '../source/pgoutput.ts';
import type { GenerationOf } from './generations.ts';

/** A watermark as its row has it; what stands before it on a route, the route says. */
export type WatermarkRow = Omit<Watermark, 'run' | 'after' | 'since' | 'replaced'>;
export type TailMessage = OutgoingEvent | WatermarkRow;

/** The columns a query of the journal selects, in this order. */
export const journalColumns = [
  'merchant_id',
  'order_id',
  'version',
  'type',
  'livemode',
  'generation',
  'xid',
  'occurred_at',
  'traceparent',
  'data',
] as const;

export interface JournalRow {
  readonly xid: number;
  readonly message: OutgoingEvent;
}

/** `xid`: of the transaction that really wrote the row, where it is known; a restored journal may name another cluster's. */
export type RowReader = (values: readonly LogValue[], xid?: number) => JournalRow;

export const DATA_COLUMN = 'data';

/** For rows whose columns stand in this order; unknown ones are passed over. Throws when one is missing. */
export function journalRowReader(source: string, columns: readonly string[], generationOf: GenerationOf): RowReader {
  const [merchantId, orderId, version, type, livemode, generation, writtenBy, occurredAt, traceparent, data] =
    journalColumns.map((name) => positionOf(name, columns)) as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
  return (values, xid = Number(values[writtenBy])) => {
    const order = text(values[orderId]);
    const issued = Number(values[version]);
    const under = generationOf(Number(values[generation]), xid);
    return {
      xid,
      message: {
        kind: 'event',
        id: `${order}:${issued}:${under}`,
        source,
        generation: under,
        type: text(values[type]) as OutgoingEvent['type'], // the consumer checks it
        order_id: order,
        merchant_id: text(values[merchantId]),
        version: issued,
        livemode: values[livemode] === 't',
        occurred_at: rfc3339(text(values[occurredAt])),
        traceparent: textOrNull(values[traceparent]),
        data: values[data] ?? missing(),
      },
    };
  };
}

function positionOf(name: string, columns: readonly string[]): number {
  const at = columns.indexOf(name);
  if (at < 0) throw new Error(`the journal has no column ${name}`);
  return at;
}

function text(value: LogValue | undefined): string {
  return textOrNull(value) ?? missing();
}

function textOrNull(value: LogValue | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

function missing(): never {
  throw new Error('the journal has no text where it promises a value');
}

/** `2026-11-24 20:40:00.12+00`, as a session in UTC writes it, with all six digits. */
export function rfc3339(at: string): string {
  const seconds = at.slice(0, 19).replace(' ', 'T');
  const fraction = at.slice(20, at.lastIndexOf('+'));
  return `${seconds}.${fraction.padEnd(6, '0')}Z`;
}
