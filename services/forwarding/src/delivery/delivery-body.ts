// The body of a direct delivery, put together around the text of each `data`, which is not looked into.
import type { OutgoingEvent, OutgoingMessage } from '@ballast/events/kafka';

/** Bytes of a delivery's body, written again and again into the same memory: one delivery is under way at a time. */
export interface BodyWriter {
  /** The body of a direct delivery (contracts: Delivery), put together around each `data`. Valid until the next call. */
  write(messages: readonly OutgoingMessage[]): Buffer;
}

const FIRST_ROOM = 256 * 1024;

export function openBodyWriter(): BodyWriter {
  let room = Buffer.allocUnsafe(FIRST_ROOM);
  let used = 0;

  function reserve(bytes: number): void {
    if (used + bytes <= room.length) return;
    const larger = Buffer.allocUnsafe(Math.max(room.length * 2, used + bytes));
    room.copy(larger, 0, 0, used);
    room = larger;
  }

  function put(part: string | Buffer): void {
    reserve(typeof part === 'string' ? Buffer.byteLength(part) : part.length);
    used += typeof part === 'string' ? room.write(part, used) : part.copy(room, used);
  }

  return {
    write: (messages) => {
      used = 0;
      put('{"messages":[');
      for (const [index, message] of messages.entries()) {
        if (index > 0) put(',');
        if (message.kind === 'watermark') {
          put(JSON.stringify(message));
        } else {
          put(envelopeText(message));
          put(message.data);
          put('}');
        }
      }
      put(']}');
      return room.subarray(0, used);
    },
  };
}

function envelopeText(event: OutgoingEvent): string {
  const { id, source, generation, type, order_id, merchant_id, version, livemode, occurred_at, traceparent } = event;
  return (
    `{"kind":"event","id":"${id}","source":${JSON.stringify(source)},"generation":${generation},` +
    `"type":${JSON.stringify(type)},"order_id":"${order_id}","merchant_id":"${merchant_id}","version":${version},` +
    `"livemode":${livemode},"occurred_at":"${occurred_at}",` +
    `"traceparent":${traceparent === null ? 'null' : JSON.stringify(traceparent)},"data":`
  );
}
