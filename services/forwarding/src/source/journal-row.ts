// A row of the journal as text values, from the log or from a query, becomes a message. `data` stays the text PostgreSQL
// wrote: on its way through here it is neither parsed nor formatted again.
import type { OrderEvent, Watermark } from '@ballast/contracts';

/** An event on its way through: everything but `data` taken apart. */
export type OutgoingEvent = Omit<OrderEvent, 'data'> & { readonly data: string };
export type OutgoingMessage = OutgoingEvent | Watermark;

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

export type RowReader = (values: readonly (string | null)[]) => JournalRow;

/** For rows whose columns stand in this order; unknown ones are passed over. Throws when one is missing. */
export function journalRowReader(source: string, columns: readonly string[]): RowReader {
  const [merchantId, orderId, version, type, livemode, generation, xid, occurredAt, traceparent, data] =
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
  return (values) => {
    const order = text(values[orderId]);
    const issued = Number(values[version]);
    const under = Number(values[generation]);
    return {
      xid: Number(values[xid]),
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
        traceparent: values[traceparent] ?? null,
        data: text(values[data]),
      },
    };
  };
}

function positionOf(name: string, columns: readonly string[]): number {
  const at = columns.indexOf(name);
  if (at < 0) throw new Error(`the journal has no column ${name}`);
  return at;
}

function text(value: string | null | undefined): string {
  if (value === null || value === undefined) throw new Error('the journal has null where it promises a value');
  return value;
}

/** `2026-11-24 20:40:00.12+00`, as a session in UTC writes it, with all six digits. */
export function rfc3339(at: string): string {
  const seconds = at.slice(0, 19).replace(' ', 'T');
  const fraction = at.slice(20, at.lastIndexOf('+'));
  return `${seconds}.${fraction.padEnd(6, '0')}Z`;
}

/** The message as it stands in the body of a direct delivery. */
export function deliveryText(message: OutgoingMessage): string {
  if (message.kind === 'watermark') return JSON.stringify(message);
  const { id, source, generation, type, order_id, merchant_id, version, livemode, occurred_at, traceparent } = message;
  return (
    `{"kind":"event","id":"${id}","source":${JSON.stringify(source)},"generation":${generation},` +
    `"type":${JSON.stringify(type)},"order_id":"${order_id}","merchant_id":"${merchant_id}","version":${version},` +
    `"livemode":${livemode},"occurred_at":"${occurred_at}",` +
    `"traceparent":${traceparent === null ? 'null' : JSON.stringify(traceparent)},"data":${message.data}}`
  );
}
