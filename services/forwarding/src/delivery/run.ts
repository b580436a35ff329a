// Says on each watermark which one stands before it on its way to one receiver (contracts: Watermark), so that the receiver
// knows whether it has everything between the two. A way begins with a watermark of its own: whatever was decided at its
// value or later comes behind it, and what is older the receiver has, or not, by another way. Between two beginnings lies a
// run, of which nothing is left out.
import { randomUUID } from 'node:crypto';
import { BEFORE_EVERYTHING, type Replaced, type Watermark } from '@ballast/contracts';
import type { OutgoingMessage } from '@ballast/events/kafka';
import type { TailMessage } from '../journal/journal-row.ts';
import { type PgSnapshot, SEES_NOTHING } from '../source/pg-snapshot.ts';
import type { Tail } from '../tail/tail.ts';
import type { Delivery } from './deliver-in-turn.ts';

/** The last watermark that the receiver acknowledged. */
export interface Acknowledged {
  readonly run: string;
  /** Null: the run has yet to begin. */
  readonly value: string | null;
  /** Undefined: it was told by a forwarder before this one. */
  readonly generation: number | undefined;
}

export interface Beginning {
  readonly source: string;
  readonly node: string;
  readonly generation: number;
  readonly value: string;
  readonly replaced: readonly Replaced[];
}

/** Everything visible in `snapshot` was decided before this time; `at`: its source's time just after it was taken, ms. */
export function beginsAt({ snapshot, at }: { readonly snapshot: PgSnapshot; readonly at: number }): string {
  return snapshot.text === SEES_NOTHING.text ? BEFORE_EVERYTHING : markAfter(at);
}

/** The first millisecond after `at`, which may be a fraction of one or have lost it. */
function markAfter(at: number): string {
  return `${new Date(Math.floor(at) + 1).toISOString().slice(0, -1)}000Z`;
}

/**
 * `since`: a time before which everything was decided that came before the watermark of this value; null: not known. What
 * says no more than the last one is left out.
 */
export function linkWatermarks(
  messages: readonly TailMessage[],
  acknowledged: Acknowledged,
  beginning: Beginning,
  since: (value: string) => string | null,
): { readonly messages: readonly OutgoingMessage[]; readonly acknowledged: Acknowledged } {
  const linked: OutgoingMessage[] = [];
  const replaced = [...beginning.replaced];
  let last = acknowledged;
  if (acknowledged.value === null) {
    const begins: Watermark = {
      kind: 'watermark',
      ...beginning,
      replaced,
      run: acknowledged.run,
      after: null,
      since: null,
    };
    linked.push(begins);
    last = begins;
  }
  for (const message of messages) {
    if (message.kind === 'event') {
      linked.push(message);
    } else if (last.value === null || last.generation !== message.generation || message.value > last.value) {
      const { run, value } = last;
      linked.push({ ...message, run, after: value, since: value === null ? null : since(value), replaced });
      last = { ...message, run };
    }
  }
  return { messages: linked, acknowledged: last };
}

export interface RunOptions {
  readonly source: string;
  readonly generation: number;
  readonly replaced: readonly Replaced[];
  /** As stored: the run, and the last watermark acknowledged in it. */
  readonly run: string;
  readonly acknowledged: string | null;
  readonly tail: Tail;
  readonly delivery: Delivery;
}

/** Everything visible in the snapshot was delivered; `at`: its source's time just after it was taken, ms. */
export interface Kept {
  readonly snapshot: PgSnapshot;
  readonly at: number;
}

export interface Run {
  /** As `Delivery` does, with what its watermarks have to say. The run begins at `kept`, if it has yet to begin. */
  deliver(messages: readonly TailMessage[], kept: Kept, still: () => boolean): Promise<boolean>;
  /** What was delivered before a watermark that follows may have been decided up to then; source's clock, ms. */
  hasDeliveredUpTo(at: number): void;
  beginAnew(): void;
  acknowledged(): { readonly run: string; readonly watermark: string | null };
}

export function openRun({ source, generation, replaced, tail, delivery, ...stored }: RunOptions): Run {
  let acknowledged: Acknowledged = { run: stored.run, value: stored.acknowledged, generation: undefined };
  let upTo = Number.NEGATIVE_INFINITY;

  /** A time before which everything was decided that was delivered before the watermark of this value. */
  function decidedBefore(value: string): string | null {
    const written = tail.watermarkWrittenBefore(value);
    return written === undefined ? null : markAfter(Math.max(written, upTo));
  }

  return {
    deliver: async (messages, kept, still) => {
      const beginning = { source, node: source, generation, value: beginsAt(kept), replaced };
      const linked = linkWatermarks(messages, acknowledged, beginning, decidedBefore);
      if (linked.messages.length === 0) return still();
      if (!(await delivery.deliver(linked.messages, still))) return false;
      ({ acknowledged } = linked);
      return true;
    },
    hasDeliveredUpTo: (at) => {
      upTo = at;
    },
    beginAnew: () => {
      acknowledged = { run: randomUUID(), value: null, generation };
    },
    acknowledged: () => ({ run: acknowledged.run, watermark: acknowledged.value }),
  };
}
