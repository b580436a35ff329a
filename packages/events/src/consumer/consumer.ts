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
import { type DeliveryReply, type OrderEvent, Problem, type Watermark } from '@ballast/contracts';
import { withTransaction } from '@ballast/database';
import type { Knex } from 'knex';
import { failureOf, Overtaken, reasonOf } from './failures.ts';
import { type Generations, readGenerations } from './generations.ts';
import {
  type Fork,
  isBehind,
  NOTHING_YET,
  orderKey,
  type Place,
  type Plan,
  type Position,
  planDelivery,
} from './next-in-order.ts';
import {
  claimMoves,
  forgetEverything,
  forgetOrdersBefore,
  markWaiting,
  moveWatermarks,
  readOpenGaps,
  readPositions,
  readWatermarks,
  type Stream,
} from './positions.sql.ts';
import { readMessages } from './read-messages.ts';
import {
  countParked,
  dropHeld,
  hold,
  openParked,
  type ParkedEvent,
  parkEvent,
  readHeld,
  readParked,
  release,
} from './waiting.sql.ts';

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
  /** Moved: everything decided before its value was applied, held or parked. In the transaction that stores it. */
  onWatermark?(trx: Knex.Transaction, watermark: Watermark): Promise<void>;
}

export interface Consumer {
  /**
   * Both routes call it, with messages in the order of the log; a topic's reader names the partition. Deliveries run one after the other. Rejects with a
   * Problem when the messages are to be sent again (`database_unavailable`, `overloaded`) or can never be read.
   */
  deliver(messages: readonly unknown[], stream?: Stream): Promise<DeliveryReply>;
  parked(limit: number): Promise<ParkedEvent[]>;
  /** Tries an order's parked events again, and what is held behind them. */
  retryParked(orderId: string): Promise<DeliveryReply>;
  /** Forgets all positions in the transaction that empties the read model: a rebuild starts from zero. */
  forgetEverything(trx: Knex.Transaction): Promise<void>;
  /** Forgets orders older than this id, for retention: also what waits or is parked of them. */
  forgetOrdersBefore(firstKeptOrderId: string): Promise<number>;
}

/** Beyond these the consumer relies on being sent the events again, or takes none until a person has looked. */
const MAX_HELD = 10_000;
const MAX_PARKED = 1_000;
/** What one reply reports; the rest is reported with the next. */
const MAX_GAPS = 1_000;
const TRIES = 5;
const DIRECT: Stream = { name: 'direct', of: 1 };

/** What came together, of which a part is applied when it is halved. */
interface Delivery {
  readonly whole: readonly OrderEvent[];
  readonly unreadable: ReadonlyMap<OrderEvent, string>;
}

class NoReconcile extends Error {}

interface Counts {
  applied: number;
  repeated: number;
  held: number;
  parked: number;
}

export function openConsumer(options: ConsumerOptions): Consumer {
  const { name, knex, logger } = options;
  let last: Promise<unknown> = Promise.resolve();

  /** One delivery at a time: the order of arrival is the order of effect. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work);
    last = turn.catch(() => undefined); // its own caller is told
    return turn;
  }

  async function deliver(messages: readonly unknown[], stream: Stream): Promise<DeliveryReply> {
    const { events, unreadable, watermarks } = readMessages(messages);
    const counts: Counts = { applied: 0, repeated: 0, held: 0, parked: 0 };
    try {
      if (events.length > 0) await applyOrHalve(events, { whole: events, unreadable }, counts);
      if (watermarks.length > 0) await passWatermarks(watermarks, stream);
      const look = counts.held > 0 || watermarks.length > 0;
      return { ...counts, gaps: look ? await readOpenGaps(knex, MAX_GAPS) : [] };
    } catch (error) {
      if (error instanceof Problem || failureOf(error) === 'poison') throw error;
      throw new Problem('database_unavailable', 'the subscriber could not store the delivery', {
        retryAfterSeconds: 1,
        cause: error,
      });
    }
  }

  async function applyOrHalve(events: readonly OrderEvent[], delivery: Delivery, counts: Counts): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        const plan = await withTransaction(knex, `${name} delivery`, (trx) => applyBatch(trx, events, delivery));
        counts.applied += plan.next.length;
        counts.repeated += plan.repeated.length;
        counts.held += plan.early.length;
        return;
      } catch (error) {
        const failure = failureOf(error);
        if (failure === 'again' && tries < TRIES) continue;
        if (failure === 'unavailable' || failure === 'again') throw error;
        const [head, tail] = halve(events);
        if (tail.length > 0) {
          await applyOrHalve(head, delivery, counts);
          return applyOrHalve(tail, delivery, counts);
        }
        if (failure === 'smaller') throw error;
        return applyOneByOne(head, delivery, counts);
      }
    }
  }

  /** The event that failed may have failed because of what is held behind it: each in a transaction of its own. */
  async function applyOneByOne([event]: readonly OrderEvent[], delivery: Delivery, counts: Counts): Promise<void> {
    if (event === undefined) throw new Error('BUG: nothing to apply');
    const held = readMessages(await withTransaction(knex, `${name} held`, (trx) => readHeld(trx, [event])));
    const unreadable = new Map([...delivery.unreadable, ...held.unreadable]);
    const generations = readGenerations(delivery.whole, held.events);
    const line = [event, ...held.events];
    for (const [index, one] of line.entries()) {
      try {
        const plan = await withTransaction(knex, `${name} event`, (trx) =>
          applyAlone(trx, one, generations, unreadable),
        );
        counts.applied += plan.next.length;
        if (index === 0) counts.repeated += plan.repeated.length;
        if (index === 0) counts.held += plan.early.length;
      } catch (error) {
        if (failureOf(error) !== 'poison') throw error;
        await park(one, error);
        counts.parked++;
        return;
      }
    }
  }

  async function applyBatch(trx: Knex.Transaction, events: readonly OrderEvent[], delivery: Delivery): Promise<Plan> {
    const positions = await readPositions(trx, events);
    const open = ordersWithGap(events, positions);
    // Read as if it came over the wire again: what did not match the contract then does not match it now.
    const held = readMessages(open.length === 0 ? [] : await readHeld(trx, open));
    const plan = planDelivery([...events, ...held.events], positions, readGenerations(delivery.whole, held.events));
    const waited = plan.moves.filter((move) => move.before.waitsFor !== null);
    await applyPlan(trx, plan, positions, new Map([...delivery.unreadable, ...held.unreadable]));
    if (waited.length > 0)
      await release(
        trx,
        waited.map(({ sample, generation, version }) => ({ ...sample, generation, version })),
      );
    const alreadyHeld = new Set(held.events);
    await dropHeld(
      trx,
      plan.repeated.filter((event) => alreadyHeld.has(event)),
    );
    const early = plan.early.filter((event) => !alreadyHeld.has(event));
    if (early.length > 0) await hold(trx, early, MAX_HELD);
    if (plan.early.length > 0) await markWaiting(trx, plan.early, 'gap', placesAfter(plan, positions));
    return { ...plan, early, repeated: plan.repeated.filter((event) => !alreadyHeld.has(event)) };
  }

  async function applyAlone(
    trx: Knex.Transaction,
    event: OrderEvent,
    generations: Generations,
    unreadable: ReadonlyMap<OrderEvent, string>,
  ): Promise<Plan> {
    const positions = await readPositions(trx, [event]);
    const plan = planDelivery([event], positions, generations);
    await dropHeld(trx, plan.repeated);
    await applyPlan(trx, plan, positions, unreadable);
    if (plan.next.length > 0) await release(trx, [event]);
    if (plan.early.length > 0) {
      await hold(trx, plan.early, MAX_HELD);
      await markWaiting(trx, plan.early, 'gap', positions);
    }
    return plan;
  }

  async function applyPlan(
    trx: Knex.Transaction,
    plan: Plan,
    positions: ReadonlyMap<string, Position>,
    unreadable: ReadonlyMap<OrderEvent, string>,
  ): Promise<void> {
    if (plan.moves.length === 0) return;
    await claimMoves(trx, plan.moves, positions);
    await reconcileForks(trx, plan.forks);
    refuseUnreadable(plan.next, unreadable);
    await options.apply(trx, plan.next);
  }

  async function reconcileForks(trx: Knex.Transaction, forks: readonly Fork[]): Promise<void> {
    if (forks.length === 0) return;
    if (options.reconcile === undefined)
      throw new NoReconcile('a newer generation issued a version again, and this subscriber cannot take it back');
    await options.reconcile(trx, forks);
  }

  async function park(event: OrderEvent, error: unknown): Promise<void> {
    const reason = reasonOf(error);
    const count = await withTransaction(knex, `${name} park`, async (trx) => {
      if ((await countParked(trx)) >= MAX_PARKED)
        throw new Problem('overloaded', `${MAX_PARKED} events are parked; a person has to look first`, {
          cause: error,
        });
      const positions = await readPositions(trx, [event]);
      if (!isBehind(positions.get(orderKey(event)) ?? NOTHING_YET, event)) throw new Overtaken(1);
      await markWaiting(trx, [event], 'parked', positions);
      return parkEvent(trx, event, reason);
    });
    const { order_id, merchant_id, version, generation } = event;
    logger.error(
      { order_id, merchant_id, version, generation, reason, parked: count },
      'event parked; its order waits',
    );
  }

  function passWatermarks(watermarks: readonly Watermark[], stream: Stream): Promise<void> {
    return withTransaction(knex, `${name} watermark`, async (trx) => {
      const before = new Map((await readWatermarks(trx)).map((mark) => [nodeKey(mark), mark]));
      await moveWatermarks(trx, watermarks, stream);
      for (const mark of await readWatermarks(trx)) {
        const last = before.get(nodeKey(mark));
        const moved = last === undefined || mark.generation > last.generation || mark.value > last.value;
        if (moved) await options.onWatermark?.(trx, mark);
      }
    });
  }

  async function retryParked(orderId: string): Promise<DeliveryReply> {
    const events = await withTransaction(knex, `${name} retry`, (trx) => openParked(trx, orderId));
    return deliver(events, DIRECT);
  }

  return {
    deliver: (messages, stream = DIRECT) => inTurn(() => deliver(messages, stream)),
    parked: (limit) => readParked(knex, limit),
    retryParked: (orderId) => inTurn(() => retryParked(orderId)),
    forgetEverything,
    forgetOrdersBefore: (firstKept) => forgetOrdersBefore(knex, firstKept),
  };
}

function nodeKey({ source, node }: Watermark): string {
  return `${source} ${node}`;
}

function ordersWithGap(events: readonly OrderEvent[], positions: ReadonlyMap<string, Position>): OrderEvent[] {
  const waiting = new Map<string, OrderEvent>();
  for (const event of events) {
    const key = orderKey(event);
    if ((positions.get(key) ?? NOTHING_YET).waitsFor === 'gap') waiting.set(key, event);
  }
  return [...waiting.values()];
}

function placesAfter(plan: Plan, positions: ReadonlyMap<string, Position>): ReadonlyMap<string, Place> {
  return new Map<string, Place>([...positions, ...plan.moves.map((move) => [move.key, move] as const)]);
}

function refuseUnreadable(events: readonly OrderEvent[], unreadable: ReadonlyMap<OrderEvent, string>): void {
  if (unreadable.size === 0) return;
  for (const event of events) {
    const reason = unreadable.get(event);
    if (reason !== undefined) throw new Error(reason);
  }
}

/** Two halves with no order in both; one order alone is halved by its events. The second half is empty for one event. */
function halve(events: readonly OrderEvent[]): readonly [readonly OrderEvent[], readonly OrderEvent[]] {
  const orders = [...new Set(events.map(orderKey))];
  if (orders.length === 1)
    return [events.slice(0, Math.ceil(events.length / 2)), events.slice(Math.ceil(events.length / 2))];
  const first = new Set(orders.slice(0, orders.length / 2));
  return [events.filter((event) => first.has(orderKey(event))), events.filter((event) => !first.has(orderKey(event)))];
}
