// The consumer contract: one handler for both routes (Kafka and direct delivery). The subscriber's effects and the
// position of each order move in one transaction, so an event takes effect once whatever is delivered how often:
//
//   repeat → dropped      next → applied      early → held, and the gap reported
//
// A batch is one transaction of a few multi-row statements. When it fails because of what is in it, it is halved by
// orders until the poison event stands alone: that event is parked where people see it, its order waits, others flow.
// When it fails because of the database, it fails as a whole, nothing is parked, and the sender delivers it again.
//
// A newer generation of the source database (failover, restore) may issue versions again that were applied with other
// content. Then `reconcile` is called first, in the same transaction: it takes back versions from..to of that order, and
// the new event is applied as the next one; generations.ts says where in an order a newer generation begins. A subscriber
// that cannot take back gives no `reconcile`: the event is parked.
import { type DeliveryReply, type Gap, type OrderEvent, Problem } from '@ballast/contracts';
import { withTransaction } from '@ballast/database';
import type { Knex } from 'knex';
import { type Counts, deliveryApplier } from './apply-delivery.ts';
import { failureOf } from './failures.ts';
import { openMarker } from './mark-replaced.ts';
import type { Fork } from './next-in-order.ts';
import { type OnWatermark, passWatermarks, readProgress } from './pass-watermarks.ts';
import { type Forgotten, forgetEverything, forgetNext, readOpenGaps } from './positions.sql.ts';
import { type ReceivedWatermark, readMessages } from './read-messages.ts';
import { openParked, type ParkedEvent, readParked } from './waiting.sql.ts';

/** The little of pino that is needed here. */
export interface ConsumerLogger {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface ConsumerOptions {
  /** Names the transactions' timings. */
  readonly name: string;
  /** The subscriber's database; `migrateConsumer` was run on it. One consumer per database. */
  readonly knex: Knex;
  readonly logger: ConsumerLogger;
  /** A batch, all next in order for their orders, several per order possible, in the order of the log. */
  apply(trx: Knex.Transaction, events: readonly OrderEvent[]): Promise<void>;
  /** Takes back what a replaced generation had issued; called before `apply` in the same transaction. */
  reconcile?(trx: Knex.Transaction, forks: readonly Fork[]): Promise<void>;
  /** More is proven: everything decided before its value was applied, held or parked. In the transaction that stores it. */
  readonly onWatermark?: OnWatermark;
}

export interface Consumer {
  /**
   * Both routes call it, with messages in the order of the log (of each partition); a topic's reader names the stream on
   * each watermark. Deliveries run one after the other; one without messages only asks. Rejects with a Problem when the
   * messages are to be sent again (`database_unavailable`, `overloaded`) or can never be read.
   */
  deliver(messages: readonly unknown[]): Promise<DeliveryReply>;
  parked(limit: number): Promise<ParkedEvent[]>;
  /** Tries an order's parked events again, and what is held behind them. */
  retryParked(orderId: string): Promise<DeliveryReply>;
  /** Forgets all positions in the transaction that empties the read model: a rebuild starts from zero. */
  forgetEverything(trx: Knex.Transaction): Promise<void>;
  /**
   * Forgets orders older than this id, for retention: also what waits or is parked of them. The oldest first, a part at a time,
   * until none is left or `signal` says stop; resolves to how many.
   */
  forgetOrdersBefore(firstKeptOrderId: string, signal: AbortSignal): Promise<number>;
}

/** What one reply reports; the next goes on behind it, so that gaps which nobody can fill hide no others. */
const MAX_GAPS = 1_000;
/** Forgotten at a time: some 100 ms. */
const MOST_FORGOTTEN = 10_000;
const BEFORE_ALL_ORDERS = '00000000-0000-0000-0000-000000000000';

export function openConsumer(options: ConsumerOptions): Consumer {
  const { name, knex } = options;
  const apply = deliveryApplier(options);
  const marker = openMarker(options);
  let last: Promise<unknown> = Promise.resolve();
  let reportedUpTo = BEFORE_ALL_ORDERS;

  /** One delivery at a time: the order of arrival is the order of effect. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work);
    last = turn.catch(() => undefined); // its own caller is told
    return turn;
  }

  async function deliver(messages: readonly unknown[]): Promise<DeliveryReply> {
    const { events, unreadable, watermarks } = readMessages(messages);
    const counts: Counts = { applied: 0, repeated: 0, held: 0, parked: 0 };
    try {
      if (events.length > 0) await apply(events, { whole: events, unreadable }, counts);
      if (watermarks.length > 0) await take(watermarks);
      const asks = watermarks.length > 0 || messages.length === 0;
      if (asks) await marker.goOn();
      return {
        ...counts,
        gaps: counts.held > 0 || asks ? await openGaps() : [],
        progress: asks ? await readProgress(knex) : [],
      };
    } catch (error) {
      if (error instanceof Problem || failureOf(error) === 'poison') throw error;
      throw new Problem('database_unavailable', 'the subscriber could not store the delivery', {
        retryAfterSeconds: 1,
        cause: error,
      });
    }
  }

  async function take(watermarks: readonly ReceivedWatermark[]): Promise<void> {
    const allMarked = await withTransaction(knex, `${name} watermark`, (trx) =>
      passWatermarks(trx, watermarks, options.onWatermark),
    );
    if (!allMarked) marker.begin();
  }

  async function openGaps(): Promise<Gap[]> {
    const behind = (order: string) =>
      withTransaction(knex, `${name} gaps`, (trx) => readOpenGaps(trx, MAX_GAPS, order));
    let gaps = await behind(reportedUpTo);
    if (gaps.length === 0 && reportedUpTo !== BEFORE_ALL_ORDERS) gaps = await behind(BEFORE_ALL_ORDERS);
    const last = gaps[MAX_GAPS - 1];
    reportedUpTo = last === undefined ? BEFORE_ALL_ORDERS : last.order_id;
    return gaps;
  }

  async function retryParked(orderId: string): Promise<DeliveryReply> {
    return deliver(await withTransaction(knex, `${name} retry`, (trx) => openParked(trx, orderId)));
  }

  async function forgetOrdersBefore(before: string, signal: AbortSignal): Promise<number> {
    const forget = (from: string): Promise<Forgotten> =>
      withTransaction(knex, `${name} forget`, (trx) => forgetNext(trx, { from, before }, MOST_FORGOTTEN));
    let forgotten = 0;
    // Not from the left edge each time: what is gone stands in the index until it is vacuumed.
    for (let from: string | null = BEFORE_ALL_ORDERS; from !== null && !signal.aborted; ) {
      const { count, next } = await forget(from);
      forgotten += count;
      from = next;
    }
    return forgotten;
  }

  return {
    deliver: (messages) => inTurn(() => deliver(messages)),
    parked: (limit) => readParked(knex, limit),
    retryParked: (orderId) => inTurn(() => retryParked(orderId)),
    forgetEverything,
    forgetOrdersBefore,
  };
}
