// Delivers messages to one subscriber until it has them, or its feed has other plans. A failed delivery is unknown: it is
// sent again as it is, and the consumer drops what it has.
import type { DeliveryReply } from '@ballast/contracts';
import type { OutgoingMessage } from '@ballast/events/kafka';
import type { Counter, Histogram, Logger } from '@ballast/telemetry';
import type { Journal } from '../journal/journal.ts';
import type { Signal } from '../signal.ts';
import type { Rate } from './rate.ts';
import { DeliveryFailed, type Sender } from './send-delivery.ts';

export interface DeliveryCounters {
  readonly events: Counter<'subscriber'>;
  readonly failures: Counter<'subscriber'>;
  readonly repeats: Counter<'subscriber'>;
  readonly parked: Counter<'subscriber'>;
  readonly delays: Histogram<'subscriber'>;
}

export interface DeliverOptions {
  readonly subscriber: string;
  readonly sender: Sender;
  readonly journal: Journal;
  readonly logger: Logger;
  readonly counters: DeliveryCounters;
  /** Wakes a waiting delivery when the feed has other plans. */
  readonly changed: Signal;
  readonly rate: Rate;
  /** Each reply, as it comes. */
  onReply(reply: DeliveryReply): void;
}

export interface Delivery {
  /** True once everything was stored there and its gaps were filled as far as the journal can; false: `still` says no. */
  deliver(messages: readonly OutgoingMessage[], still: () => boolean): Promise<boolean>;
  /** Asks how the subscriber is, once, and fills its gaps. Rejects when it does not answer. */
  ask(still: () => boolean): Promise<void>;
  /** Something else than a delivery failed. */
  failed(error: unknown): void;
  /** Null: the last delivery succeeded. */
  failure(): { readonly since: string; readonly error: string } | null;
  delivered(): number;
  /** As the subscriber last said; it looks once a second, and when something came early. */
  openGaps(): number;
  /** When anything was last acknowledged; monotonic clock, ms. Minus infinity: never yet. */
  acknowledgedAt(): number;
}

const MOST_MESSAGES = 1_000;
const FEWEST_MESSAGES = 10;
/** Half of what a subscriber takes in one body; a journal row's text is nearly all of its message. */
const MOST_BYTES = 8 * 1024 * 1024;
const ENVELOPE_BYTES = 500;
const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 5_000;
/** Each round fills up to 1,000 gaps. What is still open then waits for the next watermark, and others are not kept waiting. */
const FILL_ROUNDS = 20;
const COMPLAIN_EVERY_MS = 60_000;

export function deliverInTurn(options: DeliverOptions): Delivery {
  const { subscriber, sender, journal, logger, counters, changed, rate } = options;
  let most = MOST_MESSAGES;
  let backoff = FIRST_BACKOFF_MS;
  let failing: { since: string; error: string } | null = null;
  let delivered = 0;
  let openGaps = 0;
  let acknowledgedAt = Number.NEGATIVE_INFINITY;
  let complainedAt = Number.NEGATIVE_INFINITY;

  async function deliver(messages: readonly OutgoingMessage[], still: () => boolean): Promise<boolean> {
    for (let at = 0; at < messages.length; ) {
      if (!still()) return false;
      const batch = firstFitting(messages, at, most);
      try {
        await fillGaps(await send(batch), still);
        at += batch.length;
      } catch (error) {
        if (!still()) return false;
        failed(error);
        if (error instanceof DeliveryFailed && error.tooSlow) most = Math.max(FEWEST_MESSAGES, Math.ceil(most / 2));
        await changed.wait(backoff * (0.5 + Math.random() / 2));
        backoff = Math.min(LONGEST_BACKOFF_MS, backoff * 2);
      }
    }
    return still();
  }

  async function send(batch: readonly OutgoingMessage[]): Promise<DeliveryReply> {
    const reply = await sender.send(batch);
    const events = batch.reduce((sum, message) => (message.kind === 'event' ? sum + 1 : sum), 0);
    delivered += events;
    acknowledgedAt = performance.now();
    rate.add(events);
    counters.events.inc({ subscriber }, events);
    counters.repeats.inc({ subscriber }, reply.repeated);
    counters.parked.inc({ subscriber }, reply.parked);
    if (failing !== null)
      logger.info({ subscriber, failing_since: failing.since }, 'subscriber takes deliveries again');
    failing = null;
    backoff = FIRST_BACKOFF_MS;
    most = Math.min(MOST_MESSAGES, most * 2);
    if (saysGaps(batch, reply)) openGaps = reply.gaps.length;
    options.onReply(reply);
    return reply;
  }

  /**
   * Fills, and asks again, until nothing is open or nothing comes of it. A reply reports a part of many gaps, and the next
   * one goes on behind it: a part that the journal does not have stops nothing, coming round to it again does.
   */
  async function fillGaps(first: DeliveryReply, still: () => boolean): Promise<void> {
    let reply = first;
    const fruitless = new Set<string>();
    for (let round = 0; round < FILL_ROUNDS && still(); round++) {
      const begin = reply.gaps[0]?.order_id;
      if (begin === undefined || fruitless.has(begin)) break;
      if (await fill(reply.gaps)) fruitless.clear();
      else fruitless.add(begin);
      reply = await send([]);
    }
    if (reply.gaps.length > 0 && performance.now() - complainedAt > COMPLAIN_EVERY_MS) {
      complainedAt = performance.now();
      logger.error({ subscriber, gaps: openGaps, first: reply.gaps[0] }, 'the journal does not fill these gaps');
    }
  }

  /** False: nothing could be applied. */
  async function fill(gaps: DeliveryReply['gaps']): Promise<boolean> {
    const events = await journal.fill(gaps);
    let applied = 0;
    for (let at = 0; at < events.length; ) {
      const batch = firstFitting(events, at, most);
      applied += (await send(batch)).applied;
      at += batch.length;
    }
    return applied > 0;
  }

  function failed(error: unknown): void {
    counters.failures.inc({ subscriber });
    const why = error instanceof Error ? error.message : String(error);
    if (failing === null) logger.warn({ subscriber, reason: why }, 'delivery failed; it is tried again');
    failing = { since: failing?.since ?? new Date().toISOString(), error: why };
  }

  return {
    deliver,
    ask: async (still) => fillGaps(await send([]), still),
    failed,
    failure: () => failing,
    delivered: () => delivered,
    openGaps: () => openGaps,
    acknowledgedAt: () => acknowledgedAt,
  };
}

/** Any other reply has none because nobody looked, though there may be some (contracts: DeliveryReply). */
function saysGaps(batch: readonly OutgoingMessage[], { held }: DeliveryReply): boolean {
  return held > 0 || batch.length === 0 || batch.some(({ kind }) => kind === 'watermark');
}

function firstFitting(messages: readonly OutgoingMessage[], from: number, most: number): readonly OutgoingMessage[] {
  let bytes = 0;
  let to = from;
  for (; to < messages.length && to - from < most; to++) {
    const message = messages[to];
    bytes += ENVELOPE_BYTES + (message?.kind === 'event' ? message.data.length : 0);
    if (to > from && bytes > MOST_BYTES) break;
  }
  return messages.slice(from, to);
}
